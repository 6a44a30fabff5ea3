# The shared library shows the functions of the public headers and nothing else.
#   cmake -DNM=nm -DLIBRARY=libbincompress.so -DINCLUDE=include -P check_exports.cmake
execute_process(COMMAND ${NM} -g --defined-only ${LIBRARY} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY} OUTPUT_VARIABLE dynamic ERROR_QUIET)
if(dynamic)
    set(listing "${dynamic}")
endif()
string(REGEX MATCHALL "[A-Z] [A-Za-z0-9_]+" symbols "${listing}")
list(TRANSFORM symbols REPLACE "^[A-Z] _?" "")
list(SORT symbols)

file(READ ${INCLUDE}/bincompress.h header)
file(READ ${INCLUDE}/bincompress_train.h train)
string(APPEND header "${train}")
string(REGEX MATCHALL "\n *BC_API [^;(]*\\(" declared "${header}")
list(TRANSFORM declared REPLACE "^.*[ *](bc_[a-z0-9_]+)\\($" "\\1")
list(SORT declared)

if(NOT symbols STREQUAL declared)
    message(FATAL_ERROR "exported: ${symbols}\ndeclared: ${declared}")
endif()
list(LENGTH declared count)
message("${count} functions, all declared, no other")

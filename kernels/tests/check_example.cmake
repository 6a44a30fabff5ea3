# examples/run_model prints, for raw pixels, the numbers of the numpy emulator.
#   cmake -DPROGRAM=run_model -DSAMPLE=tests/data/every_op -P check_example.cmake
# PROGRAM is a list: a program for another architecture comes after its emulator.
foreach(threads 1 2)
    execute_process(COMMAND ${PROGRAM} ${SAMPLE}.gguf ${SAMPLE}.in ${threads} OUTPUT_VARIABLE found
        COMMAND_ERROR_IS_FATAL ANY)
    file(READ ${SAMPLE}.txt wanted)
    if(NOT found STREQUAL wanted)
        message(FATAL_ERROR "found:\n${found}\nexpected:\n${wanted}")
    endif()
endforeach()
execute_process(COMMAND ${PROGRAM} ${SAMPLE}.txt ${SAMPLE}.in RESULT_VARIABLE status ERROR_VARIABLE message)
if(status EQUAL 0 OR NOT message MATCHES "not a GGUF file")
    message(FATAL_ERROR "a text file as a model: status ${status}, ${message}")
endif()
# A file that is not a whole number of images.
execute_process(COMMAND ${PROGRAM} ${SAMPLE}.gguf ${SAMPLE}.txt RESULT_VARIABLE status ERROR_VARIABLE message)
if(status EQUAL 0 OR NOT message MATCHES "not whole images")
    message(FATAL_ERROR "a cut image: status ${status}, ${message}")
endif()

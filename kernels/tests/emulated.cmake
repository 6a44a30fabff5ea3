# The AVX-512 kernels on an emulation of the intrinsics (SIMDe), for CPUs without AVX-512: check_kernels again, whole.
find_path(BC_SIMDE_INCLUDE simde/x86/avx512.h)
mark_as_advanced(BC_SIMDE_INCLUDE)

if(BC_NO_AVX512)
    message(STATUS "AVX-512 kernels: not built, nothing to emulate")
elseif(BC_SANITIZE OR CMAKE_C_FLAGS MATCHES "-fsanitize")
    message(STATUS "AVX-512 kernels: no emulated test in a sanitized build, which takes minutes to compile")
elseif(NOT BC_SIMDE_INCLUDE)
    message(STATUS "AVX-512 kernels: no emulated test, as SIMDe's headers are missing (Debian: libsimde-dev)")
    add_test(NAME kernels_emulated COMMAND ${CMAKE_COMMAND} -E echo
        "SKIP: SIMDe's headers are missing (Debian: libsimde-dev)")
    set_tests_properties(kernels_emulated PROPERTIES SKIP_REGULAR_EXPRESSION "^SKIP")
else()
    file(GLOB avx512 CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/isa/avx512*.c)
    set_source_files_properties(${avx512} PROPERTIES
        COMPILE_OPTIONS "-mavx2;-mfma;-Wno-psabi;-Wno-conversion;-Wno-pedantic")
    add_executable(check_kernels_emulated check_kernels.c check_images.c check_planes.c check_products.c check_rows.c check_weights.c ${avx512}
        ${PROJECT_SOURCE_DIR}/src/isa/scalar.c ${PROJECT_SOURCE_DIR}/src/isa/scalar_weight.c
        ${PROJECT_SOURCE_DIR}/src/cpu.c)
    set_target_properties(check_kernels_emulated PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
    target_include_directories(check_kernels_emulated PRIVATE ${PROJECT_SOURCE_DIR}/include)
    target_include_directories(check_kernels_emulated SYSTEM PRIVATE ${BC_SIMDE_INCLUDE})
    target_compile_definitions(check_kernels_emulated PRIVATE BC_SIMDE BC_NO_SSE42 BC_NO_AVX2)
    target_compile_options(check_kernels_emulated PRIVATE -ffp-contract=off -Wall -Wextra)
    target_link_libraries(check_kernels_emulated PRIVATE m)
    add_test(NAME kernels_emulated COMMAND check_kernels_emulated)
    set_tests_properties(kernels_emulated PROPERTIES SKIP_RETURN_CODE 77)
endif()

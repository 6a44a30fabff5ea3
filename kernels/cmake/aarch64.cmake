# Cross build for 64-bit ARM on Debian's compiler (gcc-aarch64-linux-gnu), its programs run by qemu-user:
#
#   cmake -S kernels -B build/aarch64 --toolchain cmake/aarch64.cmake && cmake --build build/aarch64 && ctest --test-dir build/aarch64
#
# -DCMAKE_C_COMPILER=clang takes clang instead, with the same headers and libraries.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc CACHE STRING "C compiler for aarch64")
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu)
find_program(BC_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
mark_as_advanced(BC_QEMU)
if(BC_QEMU)
    # -L: where the loader and libc of the foreign architecture lie
    set(CMAKE_CROSSCOMPILING_EMULATOR "${BC_QEMU};-L;/usr/aarch64-linux-gnu")
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

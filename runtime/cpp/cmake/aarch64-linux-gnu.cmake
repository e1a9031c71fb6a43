# Cross build for 64-bit ARM with Debian's compiler: cmake --toolchain runtime/cpp/cmake/aarch64-linux-gnu.cmake
#
# Packages: g++-aarch64-linux-gnu, and qemu-user to run the tests. Backends are found where they are installed for ARM, or
# given by hand (see ClsclipBackends.cmake); without one the library builds, and the tests that need none run. Catch2 2
# and nlohmann_json are headers alone; Catch2 3 is a library, so it is needed for ARM (Debian: catch2:arm64).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
# Packages there are built for this machine.
set(CMAKE_SYSTEM_IGNORE_PREFIX_PATH /opt /usr/local)

# What CTest runs the tests with.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)

# The installed package: libraries, headers, find_package(clsclip) and pkg-config. It names no folder of the machine that
# built it, so it can be moved and packed. Programs find a backend's libraries where the system has them, or beside
# libclsclip.so.
include(CMakePackageConfigHelpers)

set_target_properties(clsclip_shared PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} INSTALL_RPATH "$ORIGIN")

install(TARGETS clsclip_static clsclip_shared EXPORT clsclip)
install(DIRECTORY include/clsclip DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/clsclip)
install(EXPORT clsclip NAMESPACE clsclip:: FILE clsclip-targets.cmake DESTINATION ${package})
configure_package_config_file(cmake/clsclip-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/clsclip-config.cmake
    INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/clsclip-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/clsclip-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/clsclip-config-version.cmake
    DESTINATION ${package})

# pkg-config: folders relative to its own file.
file(RELATIVE_PATH CLSCLIP_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" CLSCLIP_PC_PREFIX "${CLSCLIP_PC_PREFIX}")
file(RELATIVE_PATH CLSCLIP_PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH CLSCLIP_PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
list(TRANSFORM CLSCLIP_BACKEND_NAMES PREPEND -l OUTPUT_VARIABLE CLSCLIP_PC_PRIVATE)
list(APPEND CLSCLIP_PC_PRIVATE -lstdc++ -lm -pthread)
list(JOIN CLSCLIP_PC_PRIVATE " " CLSCLIP_PC_PRIVATE)
configure_file(cmake/clsclip.pc.in ${CMAKE_CURRENT_BINARY_DIR}/clsclip.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/clsclip.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

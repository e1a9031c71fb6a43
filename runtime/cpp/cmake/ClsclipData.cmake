# Files that the Python runtime reads too, compiled in as texts: clsclip_data.hpp.
set(shared ${CMAKE_CURRENT_LIST_DIR}/../../clsclip_runtime)
set(CLSCLIP_GENERATED ${CMAKE_CURRENT_BINARY_DIR}/generated)
foreach(file ${shared}/bundle/formats.json ${shared}/bundle/graph_rules.json ${shared}/text/synonyms.json ${shared}/renamed.json
        ${CMAKE_CURRENT_LIST_DIR}/../python_only.json)
    get_filename_component(name ${file} NAME_WE)
    string(TOUPPER ${name} name)
    file(READ ${file} ${name}_JSON)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/clsclip_data.hpp.in ${CLSCLIP_GENERATED}/clsclip_data.hpp @ONLY)

# Warnings are always on. Only developers and CI take them for errors: another compiler warns of other things.
option(CLSCLIP_WERROR "Take warnings for errors" OFF)
set(CLSCLIP_WARNINGS -Wall -Wextra)
if(CLSCLIP_WERROR)
    list(APPEND CLSCLIP_WARNINGS -Werror)
endif()

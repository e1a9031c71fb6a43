/// Loops over pixels that are compiled for several processors.
#pragma once

// Many processors multiply 16 numbers of 16 bits at a time; where the compiler can, it makes both versions, and the
// program chooses when it starts. Sanitizers cannot instrument that choice.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLSCLIP_FAST __attribute__((target_clones("avx2", "default")))
#else
#define CLSCLIP_FAST
#endif

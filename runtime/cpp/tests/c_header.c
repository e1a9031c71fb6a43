/* That the C header is C: what C sees of a struct must be what C++ sees. */
#include "clsclip/clsclip.h"

size_t c_size_of_options(void) { return sizeof(clsclip_options); }
size_t c_size_of_request(void) { return sizeof(clsclip_request); }
size_t c_size_of_instance(void) { return sizeof(clsclip_instance); }

/* A whole use, as a C program would write it; 0 when it works. */
int c_use(const char* bundle, const clsclip_image* image, uint8_t* mask) {
    clsclip_options options;
    clsclip_segmenter* segmenter = NULL;
    clsclip_result* result = NULL;
    const char* classes[] = {"red"};
    int failed;
    clsclip_options_init(&options, sizeof options);
    options.threads = 1;
    if (clsclip_load(bundle, &options, &segmenter) != CLSCLIP_OK) {
        return 1;
    }
    failed = clsclip_segment(segmenter, image, classes, 1, NULL, &result) != CLSCLIP_OK ||
             clsclip_result_mask(result, 0, mask, image->width) != CLSCLIP_OK;
    clsclip_result_free(result);
    clsclip_segmenter_free(segmenter);
    return failed;
}

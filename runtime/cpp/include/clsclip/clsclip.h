/* ClsCLIP for C and every language that can call C.
 *
 * Handles are opaque. Every function that can fail returns a clsclip_status; clsclip_last_error() then has the sentence
 * about it, of the calling thread. Nothing is thrown, nothing is printed. Texts are UTF-8 and end with a zero byte.
 *
 * The structs that a caller fills begin with their size, so that later versions can add members:
 *
 *     clsclip_options options;
 *     clsclip_options_init(&options, sizeof options);
 *     clsclip_segmenter* segmenter = NULL;
 *     if (clsclip_load("model.clsclip", &options, &segmenter) != CLSCLIP_OK) puts(clsclip_last_error());
 */
#ifndef CLSCLIP_CLSCLIP_H
#define CLSCLIP_CLSCLIP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CLSCLIP_API __attribute__((visibility("default")))
#else
#define CLSCLIP_API
#endif

/* Grows when functions or members are added; what a program was compiled with may be smaller than the library's. */
#define CLSCLIP_API_VERSION 2

typedef enum clsclip_status {
    CLSCLIP_OK = 0,
    CLSCLIP_BUNDLE_ERROR = 1,   /* a bundle is absent, damaged, too new, or not a bundle */
    CLSCLIP_IMAGE_ERROR = 2,    /* an image cannot be used */  
    CLSCLIP_WORD_ERROR = 3,     /* a class word is empty, too long, or not text */
    CLSCLIP_OPTION_ERROR = 4,   /* an argument has a value that makes no sense */
    CLSCLIP_BACKEND_ERROR = 5,  /* no backend can run the model, or its outputs are unusable */
    CLSCLIP_DETECTOR_ERROR = 6, /* a detector is absent, damaged, or of an unknown output format */
    CLSCLIP_NO_MEMORY = 7,
    CLSCLIP_INTERNAL_ERROR = 8  /* anything else */
} clsclip_status;

typedef enum clsclip_pixel_format {
    CLSCLIP_RGB = 0,
    CLSCLIP_BGR = 1,
    CLSCLIP_RGBA = 2, /* straight alpha, laid on white */
    CLSCLIP_BGRA = 3,
    CLSCLIP_GRAY = 4
} clsclip_pixel_format;

/* What became of a class. */
typedef enum clsclip_class_status {
    CLSCLIP_FOUND = 0,    /* its mask has pixels */
    CLSCLIP_EMPTY = 1,    /* it was segmented, and its mask has none */
    CLSCLIP_FILTERED = 2, /* max_classes left it out: others are likelier */
    CLSCLIP_ABSENT = 3    /* the presence filter says that it is not there, or it has no region */
} clsclip_class_status;

/* Where a class was searched. */
typedef enum clsclip_place { CLSCLIP_IN_REGIONS = 1, CLSCLIP_IN_WHOLE_IMAGE = 2, CLSCLIP_IN_TILES = 4 } clsclip_place;

/* What a class without a region gets. */
typedef enum clsclip_fallback {
    CLSCLIP_WHOLE_IMAGE = 0, /* a search of the whole image */
    CLSCLIP_NONE = 1         /* an empty mask */
} clsclip_fallback;

typedef struct clsclip_segmenter clsclip_segmenter;
typedef struct clsclip_result clsclip_result;

/* How a bundle is loaded. */
typedef struct clsclip_options {
    size_t size;             /* sizeof(clsclip_options) */
    const char* backend;     /* "auto", or a name of clsclip_backend_name() */
    int32_t threads;         /* of one call of the backend; 0 lets it decide */
    uint64_t memory_mb;      /* most for the activations of one call, MiB */
    uint64_t pairs_per_call; /* most pairs and crops of one call; 0: as many as fit, and are fast */
    uint64_t result_mb;      /* most that a result holds, MiB */
    int64_t max_pixels;      /* larger images are refused */
    int32_t presence_filter; /* for requests that do not say, as there */
    int32_t max_classes;     /* likewise */
    double detector_confidence;
    double detector_iou;
    int32_t max_detections;
    const char* engines;   /* folder of TensorRT's engines; NULL: the user's cache */
    int32_t trust_engines; /* not 0: load engines from there although it is not this user's cache: they are machine code */
} clsclip_options;

/* An upright image in the caller's memory. */
typedef struct clsclip_image {
    const uint8_t* data; /* the first byte of the top row */
    int32_t width;       /* pixels */
    int32_t height;      /* pixels */
    ptrdiff_t stride;    /* bytes from one row to the next */
    int32_t format;      /* a clsclip_pixel_format */
} clsclip_image;

/* A box in place of a detector's, xyxy in pixels. */
typedef struct clsclip_box {
    float left, top, right, bottom;
    const char* name; /* its class; NULL: it is searched for every class */
    float score;      /* 0..1 */
} clsclip_box;

/* The prompts of a class that is searched by other words than its name. */
typedef struct clsclip_prompts {
    const char* name; /* of a class that is asked */
    const char* const* words;
    size_t word_count; /* 1 or more */
} clsclip_prompts;

/* What is asked of an image beside the classes. */
typedef struct clsclip_request {
    size_t size;               /* sizeof(clsclip_request) */
    double presence_threshold; /* 0..1; negative is the bundle's own, 0 segments every class */
    int32_t presence_filter;   /* 1: presence decides which classes are segmented; 0: all are; negative: the default */
    int32_t max_classes;       /* most classes of a crop, the likeliest; 0: any number */
    int32_t zoom_in;           /* not 0: segment regions instead of the whole image once: those of the detector, or
                                * tiles where the bundle has none */
    const clsclip_box* boxes;  /* in place of the detector's; not NULL, they switch zoom_in on */
    size_t box_count;
    double crop_margin;     /* context on every side of a box, as a share of its size */
    int32_t min_crop_size;  /* crops are at least this many pixels wide and high */
    int32_t fallback;       /* a clsclip_fallback */
    int32_t boxes_as_masks; /* not 0: take the boxes themselves as masks */
    int32_t class_agnostic; /* not 0: ignore the boxes' names */
    double mask_threshold;  /* in boxes named as the class: the probability that a pixel must exceed; above 0, below 1 */
    double mask_margin;     /* how far masks reach beyond such boxes, as a share; negative: to the crop's edge */
    const clsclip_prompts* prompts; /* of classes with several, or other words than their name; each word is searched as
                                     * if it was asked alone, and the class has what any of them finds */
    size_t prompts_count;           /* number of such classes */
    double pixel_threshold; /* the probability that a pixel must exceed; negative is the bundle's own */
    int64_t min_area;       /* leave out connected parts of masks with fewer pixels */
    int32_t largest;        /* not 0: keep the largest connected part of every mask alone */
    int32_t fill_holes;     /* not 0: make holes of masks part of them; before the two above */
    int32_t tiles;  /* not 0: search overlapping parts of the image too, for every class and without a detector */
    int32_t refine; /* not 0: give masks the edges of the image */
} clsclip_request;

/* One mask of one class: in a region, or in the whole image. */
typedef struct clsclip_instance {
    size_t size;                     /* sizeof(clsclip_instance), given by the caller */
    size_t class_index;              /* position among the classes */
    float left, top, right, bottom;  /* the box, cut at the image's edges */
    int32_t window_left, window_top, window_right, window_bottom; /* the crop, whole pixels */
    float score;                     /* 0..1 */
    float presence;                  /* 0..1; NaN without a presence filter */
    int32_t whole_image;             /* not 0: there was no region of this class, or none was asked for */
    const char* name;                /* the box's own class name, or NULL; lives as long as the result */
} clsclip_instance;

CLSCLIP_API uint32_t clsclip_api_version(void);
CLSCLIP_API const char* clsclip_version(void);

/* The sentence about this thread's last failure; valid until its next call. */
CLSCLIP_API const char* clsclip_last_error(void);

/* Backends of this build, the preferred first. NULL beyond the last. */
CLSCLIP_API size_t clsclip_backend_count(void);
CLSCLIP_API const char* clsclip_backend_name(size_t at);

/* Fill with defaults; `size` is the caller's sizeof. */
CLSCLIP_API void clsclip_options_init(clsclip_options* options, size_t size);
CLSCLIP_API void clsclip_request_init(clsclip_request* request, size_t size);

/* Verify a bundle and load it; options may be NULL. Free with clsclip_segmenter_free(). */
CLSCLIP_API clsclip_status clsclip_load(const char* bundle, const clsclip_options* options,
                                        clsclip_segmenter** segmenter);
/* Another handle of the same loaded model, with its own current image, for another thread. */
CLSCLIP_API clsclip_status clsclip_share(const clsclip_segmenter* segmenter, clsclip_segmenter** shared);
CLSCLIP_API void clsclip_segmenter_free(clsclip_segmenter* segmenter);
CLSCLIP_API const char* clsclip_segmenter_model(const clsclip_segmenter* segmenter);
CLSCLIP_API const char* clsclip_segmenter_backend(const clsclip_segmenter* segmenter);

/* Segment classes in an image. May be called from any number of threads at once. request may be NULL. Free the result
 * with clsclip_result_free(). */
CLSCLIP_API clsclip_status clsclip_segment(const clsclip_segmenter* segmenter, const clsclip_image* image,
                                           const char* const* classes, size_t class_count,
                                           const clsclip_request* request, clsclip_result** result);
/* Make an image the handle's current one: its encoder runs once. Its pixels are not copied, and must stay where they
 * are for as long as clsclip_predict() is called. */
CLSCLIP_API clsclip_status clsclip_set_image(clsclip_segmenter* segmenter, const clsclip_image* image);
CLSCLIP_API clsclip_status clsclip_predict(const clsclip_segmenter* segmenter, const char* const* classes,
                                           size_t class_count, const clsclip_request* request,
                                           clsclip_result** result);

CLSCLIP_API void clsclip_result_free(clsclip_result* result);
CLSCLIP_API int32_t clsclip_result_width(const clsclip_result* result);
CLSCLIP_API int32_t clsclip_result_height(const clsclip_result* result);
/* Classes as cleaned, each once. NULL beyond the last. */
CLSCLIP_API size_t clsclip_result_class_count(const clsclip_result* result);
CLSCLIP_API const char* clsclip_result_class_name(const clsclip_result* result, size_t at);
/* A clsclip_class_status; -1 beyond the last class. */
CLSCLIP_API int32_t clsclip_result_status(const clsclip_result* result, size_t at);
/* Why a class was not segmented, such as "presence below 0.55"; else empty. NULL beyond the last class. */
CLSCLIP_API const char* clsclip_result_reason(const clsclip_result* result, size_t at);
/* 0..1; NaN where the class was not searched, or there was no presence filter. */
CLSCLIP_API float clsclip_result_presence(const clsclip_result* result, size_t at);
/* Where a class was searched: bits of clsclip_place; 0 where nowhere, -1 beyond the last class. */
CLSCLIP_API int32_t clsclip_result_searched(const clsclip_result* result, size_t at);
/* Write the mask of a class, 0 and 1, to height rows of width bytes, `stride` bytes apart. */
CLSCLIP_API clsclip_status clsclip_result_mask(const clsclip_result* result, size_t at, uint8_t* pixels,
                                               ptrdiff_t stride);
CLSCLIP_API clsclip_status clsclip_result_area(const clsclip_result* result, size_t at, int64_t* area);
/* The mask of a class as COCO's compressed counts. Writes at most `capacity` bytes with the zero at the end; `needed`,
 * which may be NULL, gets how many there are. CLSCLIP_OPTION_ERROR where they do not fit. */
CLSCLIP_API clsclip_status clsclip_result_rle(const clsclip_result* result, size_t at, char* counts, size_t capacity,
                                              size_t* needed);

CLSCLIP_API size_t clsclip_result_instance_count(const clsclip_result* result);
CLSCLIP_API clsclip_status clsclip_result_instance(const clsclip_result* result, size_t at,
                                                   clsclip_instance* instance);
/* Mask of an instance inside its window. */
CLSCLIP_API clsclip_status clsclip_result_instance_mask(const clsclip_result* result, size_t at, uint8_t* pixels,
                                                        ptrdiff_t stride);

/* Sentences for the user, such as classes that were cut off. NULL beyond the last. */
CLSCLIP_API size_t clsclip_result_note_count(const clsclip_result* result);
CLSCLIP_API const char* clsclip_result_note(const clsclip_result* result, size_t at);
/* Milliseconds by step. */
CLSCLIP_API size_t clsclip_result_timing_count(const clsclip_result* result);
CLSCLIP_API const char* clsclip_result_timing_step(const clsclip_result* result, size_t at);
CLSCLIP_API double clsclip_result_timing_ms(const clsclip_result* result, size_t at);

#ifdef __cplusplus
}
#endif

#endif /* CLSCLIP_CLSCLIP_H */

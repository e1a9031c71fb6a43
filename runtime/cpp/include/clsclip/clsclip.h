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
#define CLSCLIP_API_VERSION 1

typedef enum clsclip_status {
    CLSCLIP_OK = 0,
    CLSCLIP_BUNDLE_ERROR = 1,   /* a bundle is absent, damaged, too new, or not a bundle */
    CLSCLIP_IMAGE_ERROR = 2,    /* a picture cannot be used */
    CLSCLIP_WORD_ERROR = 3,     /* a class word is empty, too long, or not text */
    CLSCLIP_OPTION_ERROR = 4,   /* an argument has a value that makes no sense */
    CLSCLIP_BACKEND_ERROR = 5,  /* no engine can run the model, or its outputs are unusable */
    CLSCLIP_DETECTOR_ERROR = 6, /* a detector is absent, damaged, or of an unknown layout */
    CLSCLIP_NO_MEMORY = 7,
    CLSCLIP_INTERNAL_ERROR = 8  /* anything else */
} clsclip_status;

typedef enum clsclip_pixel_format {
    CLSCLIP_RGB = 0,
    CLSCLIP_BGR = 1,
    CLSCLIP_RGBA = 2, /* straight alpha, laid on white */
    CLSCLIP_BGRA = 3,
    CLSCLIP_GREY = 4
} clsclip_pixel_format;

typedef struct clsclip_segmenter clsclip_segmenter;
typedef struct clsclip_result clsclip_result;

/* How a bundle is loaded. */
typedef struct clsclip_options {
    size_t size;             /* sizeof(clsclip_options) */
    const char* backend;     /* "auto", or a name of clsclip_backend_name() */
    int32_t threads;         /* of one call of the engine; 0 lets it decide */
    uint64_t memory_mb;      /* bound in MiB on the activations of one call */
    uint64_t pairs_per_call; /* a further bound on the pairs and crops of one call; 0 is none */
    int64_t max_pixels;      /* larger pictures are refused */
    double detector_confidence;
    double detector_iou;
    int32_t max_detections;
} clsclip_options;

/* An upright picture in the caller's memory. */
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
    const char* name; /* what it shows; NULL where it may be anything */
    float score;      /* 0..1 */
} clsclip_box;

/* What is asked of a picture beside the words. */
typedef struct clsclip_ask {
    size_t size;               /* sizeof(clsclip_ask) */
    double presence_threshold; /* 0..1; negative is the bundle's own, 0 segments every word */
    int32_t zoom_in;           /* not 0: look at regions instead of the whole picture once */
    const clsclip_box* boxes;  /* in place of the detector's; not NULL, they switch zoom_in on */
    size_t box_count;
    double margin;         /* context on every side of a box, as a share of its size */
    int32_t min_side;      /* windows are at least so many pixels wide and high */
    int32_t empty_missing; /* not 0: a word without a region gets an empty mask; 0: it is looked for in the whole */
    int32_t boxes_only;    /* not 0: take the boxes themselves as masks */
    int32_t any_class;     /* not 0: forget what boxes are called */
    double odds;           /* how many times likelier, as odds, a pixel near a box of its word's name is of the word */
    double spill;          /* how far masks of such boxes may reach beyond them, as a share; negative: to the crop's edge */
} clsclip_ask;

/* One mask of one word: in a region, or in the whole picture. */
typedef struct clsclip_region {
    size_t size;                     /* sizeof(clsclip_region), given by the caller */
    size_t word;                     /* position among the words asked */
    float left, top, right, bottom;  /* the box, cut at the picture's edges */
    int32_t window_left, window_top, window_right, window_bottom; /* the crop, whole pixels */
    float score;                     /* 0..1 */
    float presence;                  /* 0..1; NaN without a gate */
    int32_t whole_image;             /* not 0: there was no region of this word, or none was asked for */
    const char* name;                /* what the box's source calls it, or NULL; lives as long as the result */
} clsclip_region;

CLSCLIP_API uint32_t clsclip_api_version(void);
CLSCLIP_API const char* clsclip_version(void);

/* The sentence about this thread's last failure; valid until its next call. */
CLSCLIP_API const char* clsclip_last_error(void);

/* Engines of this build, the preferred first. NULL beyond the last. */
CLSCLIP_API size_t clsclip_backend_count(void);
CLSCLIP_API const char* clsclip_backend_name(size_t at);

/* Fill with defaults; `size` is the caller's sizeof. */
CLSCLIP_API void clsclip_options_init(clsclip_options* options, size_t size);
CLSCLIP_API void clsclip_ask_init(clsclip_ask* ask, size_t size);

/* Verify a bundle and load it; options may be NULL. Free with clsclip_segmenter_free(). */
CLSCLIP_API clsclip_status clsclip_load(const char* bundle, const clsclip_options* options,
                                        clsclip_segmenter** segmenter);
/* Another handle of the same loaded model, with its own current picture, for another thread. */
CLSCLIP_API clsclip_status clsclip_share(const clsclip_segmenter* segmenter, clsclip_segmenter** shared);
CLSCLIP_API void clsclip_segmenter_free(clsclip_segmenter* segmenter);
CLSCLIP_API const char* clsclip_segmenter_model(const clsclip_segmenter* segmenter);
CLSCLIP_API const char* clsclip_segmenter_backend(const clsclip_segmenter* segmenter);

/* Segment words in a picture. May be called from any number of threads at once. ask may be NULL. Free the result with
 * clsclip_result_free(). */
CLSCLIP_API clsclip_status clsclip_segment(const clsclip_segmenter* segmenter, const clsclip_image* image,
                                           const char* const* words, size_t word_count, const clsclip_ask* ask,
                                           clsclip_result** result);
/* Make a picture the handle's current one: its encoder runs once. Its pixels are not copied, and must stay where they
 * are for as long as clsclip_predict() looks at regions of it. */
CLSCLIP_API clsclip_status clsclip_set_image(clsclip_segmenter* segmenter, const clsclip_image* image);
CLSCLIP_API clsclip_status clsclip_predict(const clsclip_segmenter* segmenter, const char* const* words,
                                           size_t word_count, const clsclip_ask* ask, clsclip_result** result);

CLSCLIP_API void clsclip_result_free(clsclip_result* result);
CLSCLIP_API int32_t clsclip_result_width(const clsclip_result* result);
CLSCLIP_API int32_t clsclip_result_height(const clsclip_result* result);
/* Words as cleaned, each once. NULL beyond the last. */
CLSCLIP_API size_t clsclip_result_word_count(const clsclip_result* result);
CLSCLIP_API const char* clsclip_result_word(const clsclip_result* result, size_t word);
/* 1 where the word was segmented; the others have an empty mask. */
CLSCLIP_API int32_t clsclip_result_present(const clsclip_result* result, size_t word);
/* 0..1; NaN where the word was not looked for, or the bundle has no gate. */
CLSCLIP_API float clsclip_result_presence(const clsclip_result* result, size_t word);
/* "regions", "whole image", "regions, whole image" or "nowhere"; NULL beyond the last word. */
CLSCLIP_API const char* clsclip_result_looked_at(const clsclip_result* result, size_t word);
/* Write a word's mask, 0 and 1, to height rows of width bytes, `stride` bytes apart. */
CLSCLIP_API clsclip_status clsclip_result_mask(const clsclip_result* result, size_t word, uint8_t* pixels,
                                               ptrdiff_t stride);
CLSCLIP_API clsclip_status clsclip_result_area(const clsclip_result* result, size_t word, int64_t* area);
/* A word's mask as COCO's compressed counts. Writes at most `capacity` bytes with the zero at the end; `needed`, which
 * may be NULL, gets how many there are. CLSCLIP_OPTION_ERROR where they do not fit. */
CLSCLIP_API clsclip_status clsclip_result_rle(const clsclip_result* result, size_t word, char* counts, size_t capacity,
                                              size_t* needed);

CLSCLIP_API size_t clsclip_result_region_count(const clsclip_result* result);
CLSCLIP_API clsclip_status clsclip_result_region(const clsclip_result* result, size_t at, clsclip_region* region);
/* Mask of a region inside its window. */
CLSCLIP_API clsclip_status clsclip_result_region_mask(const clsclip_result* result, size_t at, uint8_t* pixels,
                                                      ptrdiff_t stride);

/* Sentences for the user, such as words that were cut off. NULL beyond the last. */
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

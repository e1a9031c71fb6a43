/* find_things BUNDLE IMAGE.ppm CLASS...: how many pixels each class has.
 *
 * cc find_things.c -o find_things $(pkg-config --cflags --libs clsclip)
 */
#include <clsclip/clsclip.h>

#include <stdio.h>
#include <stdlib.h>

static int failed(void) {
    fprintf(stderr, "%s\n", clsclip_last_error());
    return 1;
}

int main(int count, char** values) {
    static const char* const names[] = {"found", "empty", "filtered", "absent"};
    if (count < 4) {
        fprintf(stderr, "find_things BUNDLE IMAGE.ppm CLASS...\n");
        return 2;
    }
    int width = 0, height = 0;
    FILE* file = fopen(values[2], "rb");
    if (file == NULL || fscanf(file, "P6 %d %d 255", &width, &height) != 2 || width < 1 || height < 1) {
        fprintf(stderr, "%s is no PPM image of 8 bits\n", values[2]);
        return 1;
    }
    fgetc(file); /* the line's end before the pixels */
    const size_t bytes = (size_t)3 * (size_t)width * (size_t)height;
    uint8_t* pixels = malloc(bytes);
    if (pixels == NULL || fread(pixels, 1, bytes, file) != bytes) {
        fprintf(stderr, "%s is cut off\n", values[2]);
        return 1;
    }
    fclose(file);

    clsclip_segmenter* segmenter = NULL;
    clsclip_result* result = NULL;
    const clsclip_image image = {pixels, width, height, (ptrdiff_t)3 * width, CLSCLIP_RGB};
    if (clsclip_load(values[1], NULL, &segmenter) != CLSCLIP_OK) return failed();
    if (clsclip_segment(segmenter, &image, (const char* const*)values + 3, (size_t)count - 3, NULL, &result) != CLSCLIP_OK) {
        return failed();
    }
    for (size_t at = 0; at < clsclip_result_class_count(result); ++at) {
        int64_t area = 0;
        if (clsclip_result_area(result, at, &area) != CLSCLIP_OK) return failed();
        printf("%s: %s, %lld pixels\n", clsclip_result_class_name(result, at), names[clsclip_result_status(result, at)],
               (long long)area);
    }
    clsclip_result_free(result);
    clsclip_segmenter_free(segmenter);
    free(pixels);
    return 0;
}

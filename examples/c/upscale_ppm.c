/* Enlarges a PPM picture 4 times, with progress; Ctrl+C stops it.
 *
 *     cc upscale_ppm.c $(pkg-config --cflags --libs ssmoesr) -o upscale_ppm
 *     ./upscale_ppm small.ppm large.ppm
 */
#include <signal.h>
#include <ssmoesr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ssmoesr_upscaler *upscaler;

static void on_signal(int number)
{
    (void)number;
    ssmoesr_upscaler_cancel(upscaler); /* may be called from a signal handler */
}

static int32_t on_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    fprintf(stderr, "\r%3d %%", (int)(100 * done / total));
    return 0;
}

/* Reads a PPM with 8 bits per sample and no comments; NULL where it is none. */
static unsigned char *read_ppm(const char *path, unsigned *width, unsigned *height)
{
    unsigned char *data = NULL;
    unsigned most;
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        return NULL;
    if (fscanf(file, "P6 %u %u %u", width, height, &most) == 3 && most == 255 && fgetc(file) != EOF && *width > 0 &&
        *height > 0 && *width <= 16384 && *height <= 16384) {
        size_t bytes = (size_t)*width * *height * 3;
        data = malloc(bytes);
        if (data != NULL && fread(data, 1, bytes, file) != bytes) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

static int write_ppm(const char *path, const unsigned char *data, unsigned width, unsigned height)
{
    size_t bytes = (size_t)width * height * 3;
    FILE *file = fopen(path, "wb");
    int good;

    if (file == NULL)
        return 0;
    good = fprintf(file, "P6\n%u %u\n255\n", width, height) > 0 && fwrite(data, 1, bytes, file) == bytes;
    return (fclose(file) == 0) && good;
}

static void describe(ssmoesr_picture *picture, unsigned char *data, unsigned width, unsigned height)
{
    ssmoesr_picture_init(picture, sizeof *picture);
    picture->format = SSMOESR_FORMAT_RGB8;
    picture->width = width;
    picture->height = height;
    picture->data[0] = data;
    picture->stride[0] = (size_t)width * 3;
}

int main(int argc, char **argv)
{
    unsigned width, height;
    uint32_t out_width, out_height;
    unsigned char *small, *large = NULL;
    ssmoesr_picture in, out;
    ssmoesr_options options;
    ssmoesr_status status;

    if (argc != 3) {
        fprintf(stderr, "usage: %s IN.ppm OUT.ppm\n", argv[0]);
        return 2;
    }
    small = read_ppm(argv[1], &width, &height);
    if (small == NULL) {
        fprintf(stderr, "%s is no PPM that can be read\n", argv[1]);
        return 1;
    }
    ssmoesr_options_init(&options, sizeof options);
    options.scale = 4;
    status = ssmoesr_upscaler_new(&options, &upscaler);
    if (status == SSMOESR_OK)
        status = ssmoesr_upscaler_output_size(upscaler, width, height, options.scale, &out_width, &out_height);
    if (status == SSMOESR_OK) {
        large = malloc((size_t)out_width * out_height * 3);
        if (large == NULL) {
            fprintf(stderr, "no memory for %ux%u pixels\n", (unsigned)out_width, (unsigned)out_height);
            return 1;
        }
        describe(&in, small, width, height);
        describe(&out, large, out_width, out_height);
        signal(SIGINT, on_signal);
        status = ssmoesr_upscaler_run(upscaler, NULL, &in, &out, on_progress, NULL);
        signal(SIGINT, SIG_DFL);
        fprintf(stderr, "\n");
    }
    if (status != SSMOESR_OK)
        fprintf(stderr, "%s: %s\n", ssmoesr_status_string(status), ssmoesr_last_error());
    else if (!write_ppm(argv[2], large, out_width, out_height)) {
        fprintf(stderr, "%s cannot be written\n", argv[2]);
        status = SSMOESR_ERROR_IO;
    }
    ssmoesr_upscaler_free(&upscaler);
    free(large);
    free(small);
    return status == SSMOESR_OK ? 0 : status == SSMOESR_ERROR_CANCELLED ? 130 : 1;
}

/* What the C tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <ssmoesr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, ssmoesr_last_error()); \
            exit(1);                                                                                        \
        }                                                                                                   \
    } while (0)

/* The status, and words that the last error holds. */
#define FAILS(call, status, word)                                    \
    do {                                                             \
        CHECK((call) == (status));                                   \
        CHECK(strstr(ssmoesr_last_error(), (word)) != NULL);         \
    } while (0)

/* A packed picture in memory of its own, with `gap` bytes behind each row that hold 0xA5. */
static inline ssmoesr_picture make(int32_t format, unsigned pixel, unsigned width, unsigned height, unsigned gap)
{
    ssmoesr_picture p;
    size_t i, bytes, stride = (size_t)width * pixel + gap;

    CHECK(ssmoesr_picture_init(&p, sizeof p) == SSMOESR_OK);
    p.format = format;
    p.width = width;
    p.height = height;
    p.stride[0] = stride;
    /* The last row ends early: a byte beyond it belongs to somebody else. */
    bytes = stride * (height - 1) + (size_t)width * pixel;
    p.data[0] = malloc(bytes);
    CHECK(p.data[0] != NULL);
    memset(p.data[0], 0xA5, bytes);
    for (i = 0; i < bytes; i++)
        if (i % stride < stride - gap)
            ((unsigned char *)p.data[0])[i] = (unsigned char)(i * 37 % 200 + 20);
    return p;
}

static inline int gaps_are_whole(const ssmoesr_picture *p, unsigned pixel)
{
    size_t y, x;
    for (y = 0; y + 1 < p->height; y++)
        for (x = (size_t)p->width * pixel; x < p->stride[0]; x++)
            if (((unsigned char *)p->data[0])[y * p->stride[0] + x] != 0xA5)
                return 0;
    return 1;
}

#endif

/* Enlarges raw I420 video from standard input to standard output, 4 times: one thread reads and submits, the other
 * fetches and writes, the library computes.
 *
 *     cc video_loop.c $(pkg-config --cflags --libs ssmoesr) -lpthread -o video_loop
 *     ./video_loop 160 96 < small.yuv > large.yuv
 */
#include <pthread.h>
#include <ssmoesr.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFERS = 4 }; /* frames in flight, at most SSMOESR_STREAM_FRAMES */

typedef struct frame {
    ssmoesr_picture in, out;
} frame;

typedef struct loop {
    ssmoesr_stream *stream;
    frame frames[BUFFERS];
    /* Guarded by the lock: frames that are free, and whether the input is at its end. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    frame *idle[BUFFERS];
    int idle_count, submitted, ended, failed;
} loop;

/* Y, U and V one after the other, rows without gaps. */
static int lay_out(ssmoesr_picture *picture, unsigned width, unsigned height)
{
    size_t w = width, h = height, cw = (w + 1) / 2, ch = (h + 1) / 2;
    unsigned char *memory = malloc(w * h + 2 * cw * ch);

    ssmoesr_picture_init(picture, sizeof *picture);
    picture->format = SSMOESR_FORMAT_I420;
    picture->width = width;
    picture->height = height;
    picture->data[0] = memory;
    picture->stride[0] = w;
    picture->stride[1] = picture->stride[2] = cw;
    if (memory != NULL) {
        picture->data[1] = memory + w * h;
        picture->data[2] = memory + w * h + cw * ch;
    }
    return memory != NULL;
}

static size_t bytes(const ssmoesr_picture *p)
{
    return (size_t)p->width * p->height + 2 * p->stride[1] * ((p->height + 1) / 2);
}

static int fail(loop *l, const char *what)
{
    fprintf(stderr, "video_loop: %s: %s\n", what, ssmoesr_last_error());
    pthread_mutex_lock(&l->lock);
    l->failed = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static void *feed(void *user)
{
    loop *l = user;
    for (;;) {
        frame *f;
        int stop;

        pthread_mutex_lock(&l->lock);
        while (l->idle_count == 0 && !l->failed)
            pthread_cond_wait(&l->changed, &l->lock);
        stop = l->failed;
        f = stop ? NULL : l->idle[--l->idle_count];
        pthread_mutex_unlock(&l->lock);
        if (stop || fread(f->in.data[0], 1, bytes(&f->in), stdin) != bytes(&f->in))
            break;
        if (ssmoesr_stream_submit(l->stream, &f->in, &f->out, f) != SSMOESR_OK) {
            fail(l, "a frame was not taken");
            break;
        }
        pthread_mutex_lock(&l->lock);
        l->submitted++;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_lock(&l->lock);
    l->ended = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* True while there is a frame to fetch; waits until one was submitted. */
static int more(loop *l, int fetched)
{
    int yes;
    pthread_mutex_lock(&l->lock);
    while (l->submitted == fetched && !l->ended && !l->failed)
        pthread_cond_wait(&l->changed, &l->lock);
    yes = l->submitted > fetched && !l->failed;
    pthread_mutex_unlock(&l->lock);
    return yes;
}

static int drain(loop *l)
{
    int fetched;
    for (fetched = 0; more(l, fetched); fetched++) {
        void *tag = NULL;
        frame *f;

        if (ssmoesr_stream_wait(l->stream, -1, &tag) != SSMOESR_OK)
            return fail(l, "a frame failed");
        f = tag;
        if (fwrite(f->out.data[0], 1, bytes(&f->out), stdout) != bytes(&f->out))
            return fail(l, "the output cannot be written");
        pthread_mutex_lock(&l->lock);
        l->idle[l->idle_count++] = f;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
    return !l->failed && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    static loop l;
    ssmoesr_upscaler *upscaler = NULL;
    unsigned width, height;
    pthread_t feeder;
    int i, good;

    if (argc != 3 || sscanf(argv[1], "%u", &width) != 1 || sscanf(argv[2], "%u", &height) != 1 || width == 0 ||
        height == 0 || width > 4096 || height > 4096) {
        fprintf(stderr, "usage: %s WIDTH HEIGHT < IN.yuv > OUT.yuv\n", argv[0]);
        return 2;
    }
    for (i = 0; i < BUFFERS; i++) {
        frame *f = l.idle[i] = &l.frames[i];
        if (!lay_out(&f->in, width, height) || !lay_out(&f->out, width * 4, height * 4)) {
            fprintf(stderr, "video_loop: no memory\n");
            return 1;
        }
    }
    l.idle_count = BUFFERS;
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.changed, NULL);
    if (ssmoesr_upscaler_new(NULL, &upscaler) != SSMOESR_OK ||
        ssmoesr_stream_new(upscaler, NULL, &l.stream) != SSMOESR_OK) {
        fprintf(stderr, "video_loop: %s\n", ssmoesr_last_error());
        return 1;
    }
    if (pthread_create(&feeder, NULL, feed, &l) != 0) {
        fprintf(stderr, "video_loop: no thread\n");
        return 1;
    }
    good = drain(&l);
    pthread_join(feeder, NULL);
    ssmoesr_stream_free(&l.stream);
    ssmoesr_upscaler_free(&upscaler);
    for (i = 0; i < BUFFERS; i++) {
        free(l.frames[i].in.data[0]);
        free(l.frames[i].out.data[0]);
    }
    return good ? 0 : 1;
}

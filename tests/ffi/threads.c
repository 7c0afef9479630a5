/* Two threads on one upscaler, cancel from another thread, streams. SLOW in the environment: less is
 * computed, times are not measured. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <time.h>

static ssmoesr_upscaler *upscaler;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sleep_ms(long ms)
{
    struct timespec t;
    t.tv_sec = 0;
    t.tv_nsec = ms * 1000000;
    nanosleep(&t, NULL);
}

static void *run_one(void *user)
{
    ssmoesr_picture in = make(SSMOESR_FORMAT_RGB8, 3, 16, 12, 0), *out = user;
    CHECK(ssmoesr_upscaler_run(upscaler, NULL, &in, out, NULL, NULL) == SSMOESR_OK);
    /* The other thread's failure is not ours. */
    CHECK(strcmp(ssmoesr_last_error(), "") == 0);
    free(in.data[0]);
    return NULL;
}

static void *fail_often(void *user)
{
    int i;
    (void)user;
    for (i = 0; i < 200; i++)
        FAILS(ssmoesr_upscaler_run(upscaler, NULL, NULL, NULL, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "in: NULL");
    return NULL;
}

static void two_threads(void)
{
    ssmoesr_picture a = make(SSMOESR_FORMAT_RGB8, 3, 64, 48, 0), b = make(SSMOESR_FORMAT_RGB8, 3, 64, 48, 0);
    pthread_t t[3];

    memset(b.data[0], 0, 64 * 48 * 3);
    CHECK(pthread_create(&t[0], NULL, run_one, &a) == 0);
    CHECK(pthread_create(&t[1], NULL, run_one, &b) == 0);
    CHECK(pthread_create(&t[2], NULL, fail_often, NULL) == 0);
    CHECK(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0 && pthread_join(t[2], NULL) == 0);
    CHECK(memcmp(a.data[0], b.data[0], 64 * 48 * 3) == 0);
    free(a.data[0]);
    free(b.data[0]);
}

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int begun;
    double cancelled;
} gate;

static int32_t open_gate(void *user, uint64_t done, uint64_t total)
{
    gate *g = user;
    (void)done;
    (void)total;
    pthread_mutex_lock(&g->lock);
    g->begun = 1;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return 0;
}

static void *cancel_soon(void *user)
{
    gate *g = user;
    pthread_mutex_lock(&g->lock);
    while (!g->begun)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
    sleep_ms(20);
    g->cancelled = now();
    ssmoesr_upscaler_cancel(upscaler);
    return NULL;
}

static void cancel_from_another_thread(int slow)
{
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    unsigned side = slow ? 16 : 256;
    ssmoesr_picture in = make(SSMOESR_FORMAT_RGB8, 3, side, side, 0), out = make(SSMOESR_FORMAT_RGB8, 3, side * 4, side * 4, 0);
    ssmoesr_options o;
    pthread_t t;
    double late;

    CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
    o.fidelity = 0; /* the full chain takes longer */
    o.steps = 4;
    CHECK(pthread_create(&t, NULL, cancel_soon, &g) == 0);
    CHECK(ssmoesr_upscaler_run(upscaler, &o, &in, &out, open_gate, &g) == SSMOESR_ERROR_CANCELLED);
    late = now() - g.cancelled;
    CHECK(pthread_join(t, NULL) == 0);
    printf("threads: cancelled after %.0f ms\n", late * 1000);
    CHECK(strcmp(ssmoesr_last_error(), "cancelled") == 0);
    ssmoesr_upscaler_resume(upscaler);
    free(in.data[0]);
    free(out.data[0]);
}

static void streams(int slow)
{
    enum { N = SSMOESR_STREAM_FRAMES };
    int fetched = slow ? 1 : 3;
    unsigned side = slow ? 48 : 320;
    ssmoesr_picture in = make(SSMOESR_FORMAT_RGB8, 3, 8, 8, 0), out[N], large = make(SSMOESR_FORMAT_RGB8, 3, side, side, 0);
    ssmoesr_picture huge = make(SSMOESR_FORMAT_RGB8, 3, 4 * side, 4 * side, 0);
    ssmoesr_stream *s = NULL, *other = NULL;
    ssmoesr_upscaler *mine = NULL;
    ssmoesr_status status;
    void *tag = &in;
    int i;

    CHECK(ssmoesr_upscaler_new(NULL, &mine) == SSMOESR_OK);
    FAILS(ssmoesr_stream_new(NULL, NULL, &s), SSMOESR_ERROR_ARGUMENT, "upscaler");
    FAILS(ssmoesr_stream_new(mine, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "stream");
    CHECK(ssmoesr_stream_new(mine, NULL, &s) == SSMOESR_OK);
    CHECK(ssmoesr_stream_new(mine, NULL, &other) == SSMOESR_OK);
    ssmoesr_upscaler_free(&mine); /* the streams go on */

    CHECK(ssmoesr_stream_wait(s, -1, &tag) == SSMOESR_EMPTY && tag == &in);
    FAILS(ssmoesr_stream_submit(s, &in, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "out: NULL");
    FAILS(ssmoesr_stream_submit(s, &in, &large, NULL), SSMOESR_ERROR_INPUT, "32x32");
    FAILS(ssmoesr_stream_submit(NULL, &in, &large, NULL), SSMOESR_ERROR_ARGUMENT, "stream");
    FAILS(ssmoesr_stream_wait(NULL, 0, NULL), SSMOESR_ERROR_ARGUMENT, "stream");
    FAILS(ssmoesr_stream_flush(NULL), SSMOESR_ERROR_ARGUMENT, "stream");
    CHECK(ssmoesr_stream_wait(s, 0, NULL) == SSMOESR_EMPTY);

    for (i = 0; i < N; i++) {
        out[i] = make(SSMOESR_FORMAT_RGB8, 3, 32, 32, 3);
        CHECK(ssmoesr_stream_submit(s, &in, &out[i], &out[i]) == SSMOESR_OK);
    }
    CHECK(ssmoesr_stream_submit(s, &in, &out[0], NULL) == SSMOESR_AGAIN);
    status = ssmoesr_stream_wait(s, 0, &tag);
    CHECK(status == SSMOESR_AGAIN || (status == SSMOESR_OK && tag == &out[0]));
    for (i = status == SSMOESR_OK; i < fetched; i++)
        CHECK(ssmoesr_stream_wait(s, -1, &tag) == SSMOESR_OK && tag == &out[i]);
    CHECK(memcmp(out[0].data[0], out[fetched - 1].data[0], 96) == 0 && gaps_are_whole(&out[0], 3));

    /* After a flush all frames come back: first those that were done, then cancelled ones. */
    CHECK(ssmoesr_stream_flush(s) == SSMOESR_OK);
    for (i = fetched; i < N; i++) {
        status = ssmoesr_stream_wait(s, 0, &tag);
        CHECK((status == SSMOESR_OK || status == SSMOESR_ERROR_CANCELLED) && tag == &out[i]);
        CHECK(strcmp(ssmoesr_last_error(), status == SSMOESR_OK ? "" : "cancelled") == 0);
    }
    CHECK(ssmoesr_stream_wait(s, 0, NULL) == SSMOESR_EMPTY);
    /* A frame that takes much longer than the way from here to the flush. */
    CHECK(ssmoesr_stream_submit(s, &large, &huge, NULL) == SSMOESR_OK);
    CHECK(ssmoesr_stream_flush(s) == SSMOESR_OK);
    CHECK(ssmoesr_stream_wait(s, 0, NULL) == SSMOESR_ERROR_CANCELLED);
    CHECK(strcmp(ssmoesr_last_error(), "cancelled") == 0);
    CHECK(ssmoesr_stream_submit(s, &in, &out[0], NULL) == SSMOESR_OK);
    CHECK(ssmoesr_stream_wait(s, -1, NULL) == SSMOESR_OK);

    /* Freed in the middle of its work: the memory is ours again when it returns. */
    CHECK(ssmoesr_stream_submit(other, &large, &huge, NULL) == SSMOESR_OK);
    sleep_ms(20);
    ssmoesr_stream_free(&other);
    memset(huge.data[0], 0, 16 * side * side * 3);
    free(huge.data[0]);
    free(large.data[0]);

    ssmoesr_stream_free(&s);
    ssmoesr_stream_free(&s);
    ssmoesr_stream_free(NULL);
    CHECK(s == NULL && other == NULL);
    for (i = 0; i < N; i++)
        free(out[i].data[0]);
    free(in.data[0]);
}

int main(void)
{
    int slow = getenv("SLOW") != NULL;

    CHECK(ssmoesr_upscaler_new(NULL, &upscaler) == SSMOESR_OK);
    if (!slow)
        two_threads();
    cancel_from_another_thread(slow);
    streams(slow);
    ssmoesr_upscaler_free(&upscaler);
    puts("threads: good");
    return 0;
}

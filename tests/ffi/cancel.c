/* Cancel from another thread, at every stage of a picture, on a model whose layers take long. Arguments: folder of the
 * model, side of the picture in pixels. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <time.h>

enum { STAGES = 10 };

static ssmoesr_upscaler *upscaler;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void pause_for(double seconds)
{
    struct timespec t;
    t.tv_sec = (time_t)seconds;
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

typedef struct attempt {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int begun;
    double wait, cancelled;
} attempt;

static int32_t on_progress(void *user, uint64_t done, uint64_t total)
{
    attempt *a = user;
    (void)done;
    (void)total;
    pthread_mutex_lock(&a->lock);
    a->begun = 1;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return 0;
}

static void *cancel_later(void *user)
{
    attempt *a = user;
    pthread_mutex_lock(&a->lock);
    while (!a->begun)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    pause_for(a->wait);
    a->cancelled = now();
    ssmoesr_upscaler_cancel(upscaler);
    return NULL;
}

/* Begins a picture and cancels it `wait` seconds later. False where it was done before; else `late` is the time from the
 * cancel to the return. */
static int attempt_after(double wait, const ssmoesr_picture *in, const ssmoesr_picture *out, double *late)
{
    attempt a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    pthread_t thread;
    ssmoesr_status status;
    double end;

    a.wait = wait;
    CHECK(pthread_create(&thread, NULL, cancel_later, &a) == 0);
    status = ssmoesr_upscaler_run(upscaler, NULL, in, out, on_progress, &a);
    end = now();
    CHECK(pthread_join(thread, NULL) == 0);
    ssmoesr_upscaler_resume(upscaler);
    *late = end - a.cancelled;
    CHECK(status == SSMOESR_ERROR_CANCELLED || status == SSMOESR_OK);
    return status == SSMOESR_ERROR_CANCELLED;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    ssmoesr_picture in, out;
    ssmoesr_options o;
    double whole, began, late, soon[STAGES], worst = 0;
    unsigned side;
    int i, cancelled = 0;

    CHECK(argc == 3 && sscanf(argv[2], "%u", &side) == 1);
    in = make(SSMOESR_FORMAT_RGB8, 3, side, side, 0);
    out = make(SSMOESR_FORMAT_RGB8, 3, 4 * side, 4 * side, 0);
    CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
    o.model = argv[1];
    CHECK(ssmoesr_upscaler_new(&o, &upscaler) == SSMOESR_OK);
    /* The first picture reads and packs the weights, which is not interrupted: it is cancelled after that. */
    CHECK(attempt_after(0.02, &in, &out, &late));
    printf("cancel: while weights are read: returned after %.0f ms\n", late * 1000);
    CHECK(ssmoesr_upscaler_run(upscaler, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
    began = now();
    CHECK(ssmoesr_upscaler_run(upscaler, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
    whole = now() - began;
    printf("cancel: a picture takes %.2f s\n", whole);
    for (i = 0; i < STAGES; i++) {
        double wait = 0.9 * whole * i / STAGES;
        if (!attempt_after(wait, &in, &out, &late))
            continue; /* this picture took less time than the one before */
        printf("cancel: %.2f s after the begin: returned after %.0f ms\n", wait, late * 1000);
        worst = late > worst ? late : worst;
        soon[cancelled++] = late;
    }
    ssmoesr_upscaler_free(&upscaler);
    free(in.data[0]);
    free(out.data[0]);
    printf("cancel: %.0f ms at worst of %d\n", worst * 1000, cancelled);
    CHECK(cancelled > STAGES / 2);
    /* The header's "soon": a small part of a picture, on the most crowded machine too, whatever happened to a single one. */
    qsort(soon, (size_t)cancelled, sizeof *soon, by_size);
    CHECK(soon[cancelled / 2] < whole / 8);
    return 0;
}

/* Allocations fail one after the other: the n-th alone, and all from the n-th on, for every n until nothing is left to
 * fail. Each time every call must return a status and, once there is memory again, work. Memory means malloc and its
 * kin, mmap of files and new threads, which this program takes the place of. Arguments: the folder of a small model, and
 * the distance of the requests that are tried: 1 for all of them, which takes minutes. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { NEVER, ONCE, EVER };
static atomic_int mode;
static atomic_long asked, fail_at, living;

/* Whether this request is to fail. */
static int refused(void)
{
    long now, at;

    if (mode == NEVER)
        return 0;
    now = atomic_fetch_add(&asked, 1) + 1;
    at = fail_at;
    return mode == ONCE ? now == at : now >= at;
}

static void *counted(void *memory)
{
    if (memory != NULL)
        living++;
    else
        errno = ENOMEM;
    return memory;
}

void *malloc(size_t size)
{
    return counted(refused() ? NULL : __libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return counted(refused() ? NULL : __libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    void *memory = refused() ? NULL : __libc_realloc(old, size);
    if (old == NULL || memory == NULL)
        return old == NULL ? counted(memory) : memory;
    return memory;
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = counted(refused() ? NULL : __libc_memalign(alignment, size));
    return *memory == NULL ? ENOMEM : 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return counted(refused() ? NULL : __libc_memalign(alignment, size));
}

void free(void *memory)
{
    if (memory != NULL)
        living--;
    __libc_free(memory);
}

typedef void *(*map_function)(void *, size_t, int, int, int, off_t);
typedef int (*thread_function)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static map_function real_map;
static thread_function real_thread;

void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset)
{
    if (refused()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return real_map(at, length, protection, flags, file, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int file, off_t offset)
{
    return mmap(at, length, protection, flags, file, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    return refused() ? EAGAIN : real_thread(thread, attributes, start, argument);
}

static const char *model;
static ssmoesr_picture small[3], large[3];

/* What a status may be where memory is short. */
static int fine(ssmoesr_status status)
{
    const char *text = ssmoesr_last_error();

    if (status == SSMOESR_OK || (status == SSMOESR_ERROR_LIMIT && text[0] != '\0'))
        return 1;
    fprintf(stderr, "memory: request %ld, mode %d: status %d: %s\n", (long)fail_at, mode, (int)status, text);
    exit(1);
}

/* Every function that allocates, as far as it comes. True where nothing failed. */
static int scenario(void)
{
    ssmoesr_upscaler *upscaler = NULL;
    ssmoesr_stream *stream = NULL;
    ssmoesr_options options;
    static ssmoesr_model_info info;
    ssmoesr_plan plan;
    uint32_t w, h;
    int i, queued = 0, good = 1;

#define TRY(call)                      \
    do {                               \
        ssmoesr_status status_ = call; \
        fine(status_);                 \
        good &= status_ == SSMOESR_OK; \
    } while (0)
    TRY(ssmoesr_options_init(&options, sizeof options));
    options.model = model;
    options.threads = 2;
    TRY(ssmoesr_model_query(model, &info, sizeof info));
    TRY(ssmoesr_upscaler_new(&options, &upscaler));
    if (upscaler != NULL) {
        TRY(ssmoesr_upscaler_model(upscaler, &info, sizeof info));
        TRY(ssmoesr_upscaler_output_size(upscaler, 8, 6, 4, &w, &h));
        TRY(ssmoesr_upscaler_plan(upscaler, NULL, 8, 6, &plan, sizeof plan));
        for (i = 0; i < 3; i++)
            TRY(ssmoesr_upscaler_run(upscaler, &options, &small[i], &large[i], NULL, NULL));
        TRY(ssmoesr_stream_new(upscaler, NULL, &stream));
    }
    if (stream != NULL) {
        for (i = 0; i < 2; i++) {
            ssmoesr_status status = ssmoesr_stream_submit(stream, &small[i], &large[i], NULL);
            fine(status);
            queued += status == SSMOESR_OK;
            good &= status == SSMOESR_OK;
        }
        for (i = 0; i < queued; i++)
            TRY(ssmoesr_stream_wait(stream, -1, NULL));
        CHECK(ssmoesr_stream_wait(stream, 0, NULL) == SSMOESR_EMPTY);
        TRY(ssmoesr_stream_flush(stream));
    }
    /* What went wrong is over when the cause is. */
    mode = NEVER;
    if (upscaler != NULL)
        CHECK(ssmoesr_upscaler_run(upscaler, NULL, &small[0], &large[0], NULL, NULL) == SSMOESR_OK);
    ssmoesr_stream_free(&stream);
    ssmoesr_upscaler_free(&upscaler);
    return good;
}

static int attempt(int how, long n)
{
    asked = 0;
    fail_at = n;
    mode = how;
    return scenario();
}

/* In a process of its own, where the library has not been used yet. True where request n was never made. */
static int cold(int how, long n)
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        attempt(how, n);
        _exit(asked < n ? 2 : 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2)) {
        fprintf(stderr, "memory: request %ld, mode %d: wait status %d\n", n, how, status);
        exit(1);
    }
    return WEXITSTATUS(status) == 2;
}

int main(int argc, char **argv)
{
    static const int32_t formats[] = {SSMOESR_FORMAT_RGB8, SSMOESR_FORMAT_RGBA8, SSMOESR_FORMAT_RGBX8};
    long n, every, tries, before, failed;
    int i, how;

    CHECK(argc == 3);
    model = argv[1];
    every = atol(argv[2]);
    *(void **)&real_map = dlsym(RTLD_NEXT, "mmap");
    *(void **)&real_thread = dlsym(RTLD_NEXT, "pthread_create");
    CHECK(real_map != NULL && real_thread != NULL && every > 0);
    for (i = 0; i < 3; i++) {
        small[i] = make(formats[i], i == 0 ? 3 : 4, 8, 6, 0);
        large[i] = make(formats[i], i == 0 ? 3 : 4, 32, 24, 0);
    }
    for (how = ONCE; how <= EVER; how++) {
        for (n = 1, tries = 0; !cold(how, n); n += every)
            tries++;
        printf("memory: %s, first use: %ld attempts\n", how == ONCE ? "one fails" : "all fail from one on", tries);
        CHECK(tries > 1000 / every);
    }
    CHECK(attempt(NEVER, 0));
    for (how = ONCE; how <= EVER; how++) {
        for (n = 1, failed = 0;; n += every) {
            before = living;
            failed += !attempt(how, n);
            if (asked < n)
                break;
            if (living != before) {
                fprintf(stderr, "memory: request %ld, mode %d: %ld blocks are left\n", n, how, living - before);
                return 1;
            }
        }
        printf("memory: %s: %ld requests, %ld attempts failed\n", how == ONCE ? "one fails" : "all fail from one on", n - 1, failed);
        /* One small request that fails is made good from the reserve. */
        CHECK(how == ONCE || failed > 1000 / every);
    }
    puts("memory: good");
    return 0;
}

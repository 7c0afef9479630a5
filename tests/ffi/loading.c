/* dlopen, use on a thread, dlclose, again and again: nothing of it stays but the mapping of the library. Arguments: the
 * library and the folder of a small model. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <ssmoesr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEED(condition)                                            \
    do {                                                           \
        if (!(condition)) {                                        \
            fprintf(stderr, "%d: %s\n", __LINE__, #condition);     \
            exit(1);                                               \
        }                                                          \
    } while (0)

extern char **environ;
static const char *path, *model;

static void *use(void *user)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    union {
        void *object;
        ssmoesr_status (*create)(const ssmoesr_options *, ssmoesr_upscaler **);
        ssmoesr_status (*options)(ssmoesr_options *, size_t);
        ssmoesr_status (*picture)(ssmoesr_picture *, size_t);
        ssmoesr_status (*run)(ssmoesr_upscaler *, const ssmoesr_options *, const ssmoesr_picture *,
                              const ssmoesr_picture *, ssmoesr_progress_fn, void *);
        const char *(*text)(void);
        void (*end)(ssmoesr_upscaler **);
    } create, options, picture, run, text, end;
    static unsigned char small[8 * 6 * 3], large[32 * 24 * 3];
    ssmoesr_options o;
    ssmoesr_picture in, out;
    ssmoesr_upscaler *u = NULL;

    (void)user;
    NEED(library != NULL);
    create.object = dlsym(library, "ssmoesr_upscaler_new_v0");
    options.object = dlsym(library, "ssmoesr_options_init");
    picture.object = dlsym(library, "ssmoesr_picture_init");
    run.object = dlsym(library, "ssmoesr_upscaler_run");
    text.object = dlsym(library, "ssmoesr_last_error");
    end.object = dlsym(library, "ssmoesr_upscaler_free");
    NEED(create.object != NULL && options.object != NULL && picture.object != NULL);
    NEED(run.object != NULL && text.object != NULL && end.object != NULL);
    NEED(options.options(&o, sizeof o) == SSMOESR_OK);
    o.model = model;
    o.threads = 3;
    o.scale = 3;
    NEED(create.create(&o, &u) == SSMOESR_ERROR_OPTION && strstr(text.text(), "scale") != NULL);
    o.scale = 4;
    NEED(create.create(&o, &u) == SSMOESR_OK);
    NEED(picture.picture(&in, sizeof in) == SSMOESR_OK);
    in.format = SSMOESR_FORMAT_RGB8;
    in.width = 8;
    in.height = 6;
    in.data[0] = small;
    in.stride[0] = 24;
    out = in;
    out.width = 32;
    out.height = 24;
    out.data[0] = large;
    out.stride[0] = 96;
    NEED(run.run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
    end.end(&u);
    NEED(dlclose(library) == 0);
    return NULL;
}

/* Entries of a folder of /proc. */
static int count(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;

    NEED(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* What a library could change in its process. */
typedef struct process {
    int files;
    struct {
        void (*handler)(int);
        int flags, blocked;
    } signals[64];
    char *environment[4096];
    char place[4096], numbers[64];
    mode_t creation;
} process;

static void look(process *p)
{
    struct sigaction action;
    sigset_t mask;
    int i;

    memset(p, 0, sizeof *p);
    p->files = count("/proc/self/fd");
    NEED(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
    for (i = 1; i < 64; i++)
        if (sigaction(i, NULL, &action) == 0) {
            p->signals[i].handler = action.sa_handler;
            p->signals[i].flags = action.sa_flags;
            p->signals[i].blocked = sigismember(&mask, i);
        }
    for (i = 0; environ[i] != NULL && i < 4096; i++)
        p->environment[i] = environ[i];
    NEED(getcwd(p->place, sizeof p->place) != NULL);
    strncpy(p->numbers, setlocale(LC_ALL, NULL), sizeof p->numbers - 1);
    p->creation = umask(0);
    umask(p->creation);
}

/* A thread that was joined may be seen for a moment longer. */
static int threads(void)
{
    int i, n = 0;

    for (i = 0; i < 200 && (n = count("/proc/self/task") - 2) != 1; i++)
        usleep(10000);
    return n;
}

int main(int argc, char **argv)
{
    static process before, after;
    size_t bytes = 0;
    int i;
    pthread_t thread;

    NEED(argc == 3);
    path = argv[1];
    model = argv[2];
    /* One arena, so that blocks are counted together. */
    mallopt(M_ARENA_MAX, 1);
    look(&before);
    for (i = 0; i < 40; i++) {
        NEED(pthread_create(&thread, NULL, use, NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
        NEED(threads() == 1);
        /* What is made once per process is there after some rounds. */
        if (i == 9)
            bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    }
    NEED(mallinfo2().uordblks + mallinfo2().hblkhd <= bytes);
    look(&after);
    NEED(memcmp(&before, &after, sizeof before) == 0);
    puts("loading: good");
    return 0;
}

/* dlopen, use on a thread, dlclose, again and again. Argument: the library. Prints how many threads are left. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <pthread.h>
#include <ssmoesr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(condition)                                            \
    do {                                                           \
        if (!(condition)) {                                        \
            fprintf(stderr, "%d: %s\n", __LINE__, #condition);     \
            exit(1);                                               \
        }                                                          \
    } while (0)

static const char *path;

static void *use(void *user)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    union {
        void *object;
        ssmoesr_status (*create)(const ssmoesr_options *, ssmoesr_upscaler **);
        ssmoesr_status (*init)(ssmoesr_options *, size_t);
        const char *(*text)(void);
        void (*end)(ssmoesr_upscaler **);
    } create, init, text, end;
    ssmoesr_options o;
    ssmoesr_upscaler *u = NULL;

    (void)user;
    NEED(library != NULL);
    create.object = dlsym(library, "ssmoesr_upscaler_new_v0");
    init.object = dlsym(library, "ssmoesr_options_init");
    text.object = dlsym(library, "ssmoesr_last_error");
    end.object = dlsym(library, "ssmoesr_upscaler_free");
    NEED(create.object != NULL && init.object != NULL && text.object != NULL && end.object != NULL);
    NEED(init.init(&o, sizeof o) == SSMOESR_OK);
    o.scale = 3;
    NEED(create.create(&o, &u) == SSMOESR_ERROR_OPTION && strstr(text.text(), "scale") != NULL);
    NEED(create.create(NULL, &u) == SSMOESR_OK);
    end.end(&u);
    NEED(dlclose(library) == 0);
    return NULL;
}

int main(int argc, char **argv)
{
    int i;
    pthread_t thread;

    NEED(argc == 2);
    path = argv[1];
    for (i = 0; i < 20; i++) {
        NEED(pthread_create(&thread, NULL, use, NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
    }
    puts("loading: good");
    return 0;
}

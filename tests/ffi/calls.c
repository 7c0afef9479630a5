/* Every function with what is right and what is wrong, on one thread. Arguments: folders of broken models. SLOW in the
 * environment: hardly more than one picture is computed. */
#include "check.h"

#include <stddef.h>

static int slow;

static void versions(void)
{
    char text[32];
    int i;

    CHECK(ssmoesr_version() == SSMOESR_VERSION);
    sprintf(text, "%d.%d.%d", SSMOESR_VERSION_MAJOR, SSMOESR_VERSION_MINOR, SSMOESR_VERSION_PATCH);
    CHECK(strcmp(text, ssmoesr_version_string()) == 0);
    for (i = -100; i < 100; i++)
        CHECK(ssmoesr_status_string(i)[0] != '\0');
    CHECK(strcmp(ssmoesr_status_string(SSMOESR_ERROR_LIMIT), ssmoesr_status_string(12345)) != 0);
    CHECK(strcmp(ssmoesr_last_error(), "") == 0);
    for (i = 0; ssmoesr_device_name((size_t)i) != NULL; i++)
        CHECK(ssmoesr_device_description((size_t)i)[0] != '\0');
    CHECK(i > 0);
    CHECK(ssmoesr_device_name((size_t)-1) == NULL && ssmoesr_device_description((size_t)i) == NULL);
}

static void structs(void)
{
    ssmoesr_options o, newer[2];
    ssmoesr_picture p;
    ssmoesr_upscaler *u = (ssmoesr_upscaler *)&o;

    FAILS(ssmoesr_options_init(NULL, sizeof o), SSMOESR_ERROR_ARGUMENT, "NULL");
    FAILS(ssmoesr_options_init(&o, 0), SSMOESR_ERROR_ARGUMENT, "struct_size is 0");
    FAILS(ssmoesr_options_init(&o, sizeof o - 4), SSMOESR_ERROR_ARGUMENT, "sizeof(ssmoesr_options)");
    FAILS(ssmoesr_picture_init(NULL, sizeof p), SSMOESR_ERROR_ARGUMENT, "NULL");
    FAILS(ssmoesr_picture_init(&p, (size_t)-1), SSMOESR_ERROR_ARGUMENT, "struct_size");
    CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
    CHECK(strcmp(ssmoesr_last_error(), "") == 0);
    CHECK(o.struct_size == sizeof o && o.scale == 4 && o.fidelity == -1 && o.eta == -1 && o.model == NULL);

    /* A struct that was never set up. */
    memset(&o, 0, sizeof o);
    FAILS(ssmoesr_upscaler_new(&o, &u), SSMOESR_ERROR_ARGUMENT, "options: struct_size is 0");
    CHECK(u == NULL);
    memset(&o, 0xFF, sizeof o);
    FAILS(ssmoesr_upscaler_new(&o, &u), SSMOESR_ERROR_ARGUMENT, "struct_size");

    /* A program of a later version: fine until it uses what is unknown here. */
    CHECK(ssmoesr_options_init(&newer[0], sizeof newer) == SSMOESR_OK);
    CHECK(newer[0].struct_size == sizeof newer && newer[1].struct_size == 0 && newer[0].scale == 4);
    CHECK(ssmoesr_upscaler_new(&newer[0], &u) == SSMOESR_OK);
    ssmoesr_upscaler_free(&u);
    newer[1].steps = 1;
    FAILS(ssmoesr_upscaler_new(&newer[0], &u), SSMOESR_ERROR_ARGUMENT, "does not know");
}

static void options(void)
{
    ssmoesr_options o;
    ssmoesr_upscaler *u = NULL;
    static char endless[70000];

#define WITH(set, status, word)                                          \
    do {                                                                 \
        CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);         \
        set;                                                             \
        u = (ssmoesr_upscaler *)&o;                                      \
        FAILS(ssmoesr_upscaler_new(&o, &u), status, word);               \
        CHECK(u == NULL);                                                \
    } while (0)
    WITH(o.scale = 5, SSMOESR_ERROR_OPTION, "scale");
    WITH(o.scale = 0xFFFFFFFFu, SSMOESR_ERROR_OPTION, "4294967295");
    WITH(o.fidelity = 1.5, SSMOESR_ERROR_OPTION, "fidelity");
    WITH(o.fidelity = strtod("nan", NULL), SSMOESR_ERROR_OPTION, "fidelity");
    WITH(o.eta = -1e300, SSMOESR_ERROR_OPTION, "eta");
    WITH(o.steps = 1001, SSMOESR_ERROR_OPTION, "steps");
    WITH(o.tile_size = 4097, SSMOESR_ERROR_OPTION, "tile-size");
    WITH(o.threads = 1025, SSMOESR_ERROR_OPTION, "threads");
    WITH(o.device = "toaster", SSMOESR_ERROR_OPTION, "toaster");
    WITH(o.sampler = "random", SSMOESR_ERROR_OPTION, "random");
    WITH(o.colour_fix = "rainbow", SSMOESR_ERROR_OPTION, "rainbow");
    WITH(o.tile_mode = "sideways", SSMOESR_ERROR_OPTION, "sideways");
    WITH(o.precision = "f16", SSMOESR_ERROR_OPTION, "f32 only");
    WITH(o.tile_overlap = 257, SSMOESR_ERROR_OPTION, "tile-overlap");
    WITH(o.reserved = 1, SSMOESR_ERROR_OPTION, "reserved");
    WITH(o.model = "\xff\xfe", SSMOESR_ERROR_OPTION, "UTF-8");
    WITH(o.model = "no-such-model", SSMOESR_ERROR_MODEL, "no-such-model");
    memset(endless, 'x', sizeof endless - 1);
    WITH(o.model = endless, SSMOESR_ERROR_MODEL, "xxx");
    CHECK(strlen(ssmoesr_last_error()) <= 1023);
    FAILS(ssmoesr_upscaler_new(NULL, NULL), SSMOESR_ERROR_ARGUMENT, "upscaler");
    CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
    o.precision = "f32";
    o.tile_overlap = 32;
    CHECK(ssmoesr_upscaler_new(&o, &u) == SSMOESR_OK);
    ssmoesr_upscaler_free(&u);
}

/* A program that was compiled before ssmoesr_options had its last fields: what lies behind its struct is its own. */
static void older_options(void)
{
    struct older {
        size_t struct_size;
        const char *model, *device, *sampler, *colour_fix;
        uint64_t seed;
        double fidelity, eta;
        uint32_t scale, steps, tile_size, threads;
    };
    union {
        struct older older;
        ssmoesr_options now;
    } o;
    ssmoesr_upscaler *u = NULL;

    CHECK(sizeof o.older < sizeof o.now && offsetof(ssmoesr_options, tile_mode) == sizeof o.older);
    memset(&o, 0xA5, sizeof o);
    CHECK(ssmoesr_options_init(&o.now, sizeof o.older) == SSMOESR_OK && o.older.struct_size == sizeof o.older);
    CHECK(o.older.threads == 0 && ((unsigned char *)&o)[sizeof o.older] == 0xA5);
    CHECK(ssmoesr_upscaler_new(&o.now, &u) == SSMOESR_OK);
    ssmoesr_upscaler_free(&u);
    o.older.scale = 5;
    FAILS(ssmoesr_upscaler_new(&o.now, &u), SSMOESR_ERROR_OPTION, "scale");
}

static void broken_models(int count, char **folders)
{
    int i;
    ssmoesr_options o;
    ssmoesr_upscaler *u;

    for (i = 0; i < count; i++) {
        CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
        o.model = folders[i];
        FAILS(ssmoesr_upscaler_new(&o, &u), SSMOESR_ERROR_MODEL, folders[i]);
        CHECK(u == NULL);
    }
}

static void queries(ssmoesr_upscaler *u)
{
    ssmoesr_model_info *info = malloc(sizeof *info);
    ssmoesr_plan plan;
    uint32_t w = 7, h = 7;

    CHECK(info != NULL);
    CHECK(ssmoesr_model_query(NULL, info, sizeof *info) == SSMOESR_OK);
    CHECK(strcmp(info->name, "photo") == 0 && info->scales[0] == 4 && info->folder[0] == '/');
    CHECK(ssmoesr_upscaler_model(u, info, sizeof *info) == SSMOESR_OK && strcmp(info->family, "native") == 0);
    FAILS(ssmoesr_model_query("nobody", info, sizeof *info), SSMOESR_ERROR_MODEL, "nobody");
    FAILS(ssmoesr_model_query(NULL, NULL, sizeof *info), SSMOESR_ERROR_ARGUMENT, "NULL");
    FAILS(ssmoesr_model_query(NULL, info, 100), SSMOESR_ERROR_ARGUMENT, "info");
    FAILS(ssmoesr_upscaler_model(NULL, info, sizeof *info), SSMOESR_ERROR_ARGUMENT, "upscaler");
    free(info);
    CHECK(ssmoesr_upscaler_device(u)[0] != '\0' && ssmoesr_upscaler_device(NULL) == NULL);

    CHECK(ssmoesr_upscaler_output_size(u, 10, 20, 8, &w, &h) == SSMOESR_OK && w == 80 && h == 160);
    w = h = 7;
    FAILS(ssmoesr_upscaler_output_size(u, 10, 20, 3, &w, &h), SSMOESR_ERROR_OPTION, "scale");
    FAILS(ssmoesr_upscaler_output_size(u, 0xFFFFFFFFu, 1, 4, &w, &h), SSMOESR_ERROR_LIMIT, "too large");
    FAILS(ssmoesr_upscaler_output_size(u, 0, 1, 4, &w, &h), SSMOESR_ERROR_INPUT, "zero");
    FAILS(ssmoesr_upscaler_output_size(u, 1, 1, 4, NULL, &h), SSMOESR_ERROR_ARGUMENT, "NULL");
    FAILS(ssmoesr_upscaler_output_size(NULL, 1, 1, 4, &w, &h), SSMOESR_ERROR_ARGUMENT, "NULL");
    CHECK(w == 7 && h == 7);

    CHECK(ssmoesr_upscaler_plan(u, NULL, 1920, 1080, &plan, sizeof plan) == SSMOESR_OK);
    CHECK(plan.out_width == 7680 && plan.out_height == 4320 && plan.tiles >= 1 && plan.units >= 2 * plan.tiles);
    CHECK(plan.bytes > (uint64_t)7680 * 4320 * 3 && plan.tile_width <= 1920 && plan.tile_width > 0);
    CHECK(plan.steps >= 1 && plan.units == plan.tiles * (plan.steps + 1) && plan.gflop > 1);
    CHECK(ssmoesr_upscaler_plan(u, NULL, 262144, 262144, &plan, sizeof plan) == SSMOESR_OK && plan.tiles > 1000);
    FAILS(ssmoesr_upscaler_plan(u, NULL, 262145, 1, &plan, sizeof plan), SSMOESR_ERROR_LIMIT, "too large");
    FAILS(ssmoesr_upscaler_plan(u, NULL, 0, 1, &plan, sizeof plan), SSMOESR_ERROR_INPUT, "zero");
    FAILS(ssmoesr_upscaler_plan(u, NULL, 1, 1, NULL, sizeof plan), SSMOESR_ERROR_ARGUMENT, "NULL");
    FAILS(ssmoesr_upscaler_plan(NULL, NULL, 1, 1, &plan, sizeof plan), SSMOESR_ERROR_ARGUMENT, "NULL");
}

/* A program that was compiled before ssmoesr_plan had its last two fields. */
static void older_program(ssmoesr_upscaler *u)
{
    struct older_plan {
        size_t struct_size;
        uint64_t tiles, units, bytes;
        uint32_t out_width, out_height, tile_width, tile_height;
    };
    union {
        struct older_plan older;
        ssmoesr_plan now;
    } plan;

    CHECK(sizeof plan.older < sizeof plan.now && offsetof(ssmoesr_plan, steps) == sizeof plan.older);
    memset(&plan, 0xA5, sizeof plan);
    CHECK(ssmoesr_upscaler_plan(u, NULL, 10, 20, &plan.now, sizeof plan.older) == SSMOESR_OK);
    CHECK(plan.older.struct_size == sizeof plan.older && plan.older.out_width == 40 && plan.older.tile_height == 20);
    CHECK(plan.now.steps == (uint64_t)0xA5A5A5A5A5A5A5A5u);
    FAILS(ssmoesr_upscaler_plan(u, NULL, 10, 20, &plan.now, sizeof plan.older - 8), SSMOESR_ERROR_ARGUMENT, "plan");
}

typedef struct seen {
    uint64_t calls, last, total, stop_at;
    ssmoesr_upscaler *inside;
} seen;

static int32_t watch(void *user, uint64_t done, uint64_t total)
{
    seen *s = user;
    ssmoesr_plan plan;

    CHECK(done == s->calls && done <= total);
    s->calls++;
    s->last = done;
    s->total = total;
    if (s->inside != NULL)
        FAILS(ssmoesr_upscaler_plan(s->inside, NULL, 1, 1, &plan, sizeof plan), SSMOESR_ERROR_ARGUMENT, "callback");
    return done >= s->stop_at;
}

static void pictures(ssmoesr_upscaler *u)
{
    ssmoesr_picture in = make(SSMOESR_FORMAT_RGB8, 3, 16, 12, 5), out = make(SSMOESR_FORMAT_RGB8, 3, 64, 48, 7), bad;
    ssmoesr_options o;
    ssmoesr_plan plan;
    seen s = {0, 0, 0, 0, NULL};
    int format;

    s.stop_at = (uint64_t)-1;
    s.inside = u;
    CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, watch, &s) == SSMOESR_OK);
    CHECK(ssmoesr_upscaler_plan(u, NULL, 16, 12, &plan, sizeof plan) == SSMOESR_OK);
    CHECK(s.last == s.total && s.calls == s.total + 1 && s.total == plan.units);
    CHECK(gaps_are_whole(&in, 3) && gaps_are_whole(&out, 3));

    /* The callback stops this call and no other. */
    memset(&s, 0, sizeof s);
    CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, watch, &s) == SSMOESR_ERROR_CANCELLED && s.calls == 1);
    memset(&s, 0, sizeof s);
    s.stop_at = 1;
    CHECK(slow || (ssmoesr_upscaler_run(u, NULL, &in, &out, watch, &s) == SSMOESR_ERROR_CANCELLED && s.calls == 2));

    /* A cancel that comes before the call counts. */
    ssmoesr_upscaler_cancel(u);
    CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_ERROR_CANCELLED);
    ssmoesr_upscaler_resume(u);
    CHECK(slow || ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
    ssmoesr_upscaler_cancel(NULL);
    ssmoesr_upscaler_resume(NULL);

#define BAD(which, set, status, word)                                                                             \
    do {                                                                                                          \
        bad = which;                                                                                              \
        set;                                                                                                      \
        FAILS(ssmoesr_upscaler_run(u, NULL, &which == &in ? &bad : &in, &which == &in ? &out : &bad, NULL, NULL), \
              status, word);                                                                                      \
    } while (0)
    FAILS(ssmoesr_upscaler_run(NULL, NULL, &in, &out, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "upscaler");
    FAILS(ssmoesr_upscaler_run(u, NULL, NULL, &out, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "in: NULL");
    FAILS(ssmoesr_upscaler_run(u, NULL, &in, NULL, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "out: NULL");
    BAD(in, bad.struct_size = 0, SSMOESR_ERROR_ARGUMENT, "in: struct_size");
    BAD(in, bad.format = 0, SSMOESR_ERROR_ARGUMENT, "in: format");
    BAD(in, bad.format = -2147483647, SSMOESR_ERROR_ARGUMENT, "format");
    BAD(in, bad.data[0] = NULL, SSMOESR_ERROR_ARGUMENT, "data[0] is NULL");
    BAD(out, bad.data[0] = NULL, SSMOESR_ERROR_ARGUMENT, "out: data[0] is NULL");
    BAD(in, bad.width = 0, SSMOESR_ERROR_INPUT, "0x12");
    BAD(in, bad.height = 0xFFFFFFFFu, SSMOESR_ERROR_INPUT, "4294967295");
    BAD(in, bad.width = 1u << 20, SSMOESR_ERROR_INPUT, "stride");
    BAD(in, (bad.width = 1u << 20, bad.stride[0] = 3u << 20), SSMOESR_ERROR_LIMIT, "too large");
    BAD(in, bad.stride[0] = 47, SSMOESR_ERROR_INPUT, "stride[0] is 47");
    BAD(in, bad.stride[0] = (size_t)-1, SSMOESR_ERROR_INPUT, "address space");
    BAD(in, bad.stride[0] = (size_t)-1 / 11, SSMOESR_ERROR_INPUT, "address space");
    BAD(out, bad.stride[0] = (size_t)1 << (sizeof(size_t) * 8 - 2), SSMOESR_ERROR_INPUT, "out: stride");
    BAD(out, bad.width = 63, SSMOESR_ERROR_INPUT, "64x48");
    BAD(out, bad.height = 96, SSMOESR_ERROR_INPUT, "64x48");
    BAD(out, bad.format = SSMOESR_FORMAT_BGR8, SSMOESR_ERROR_INPUT, "Rgb8");
    BAD(out, bad.data[0] = (char *)in.data[0] + 600, SSMOESR_ERROR_INPUT, "overlap");
    BAD(in, bad.data[0] = (char *)out.data[0] + 9000, SSMOESR_ERROR_INPUT, "overlap");
    CHECK(ssmoesr_options_init(&o, sizeof o) == SSMOESR_OK);
    o.scale = 8;
    FAILS(ssmoesr_upscaler_run(u, &o, &in, &out, NULL, NULL), SSMOESR_ERROR_INPUT, "128x96");
    o.scale = 4;
    o.steps = 7777;
    FAILS(ssmoesr_upscaler_run(u, &o, &in, &out, NULL, NULL), SSMOESR_ERROR_OPTION, "7777");
    free(in.data[0]);
    free(out.data[0]);

    /* Every packed format, 5x3 pixels, odd address. */
    for (format = SSMOESR_FORMAT_GRAY8; format <= SSMOESR_FORMAT_RGBAF32; format += slow ? 18 : 1) {
        static const unsigned char pixel[] = {0, 1, 2, 2, 4, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 6, 8, 12, 16};
        unsigned n = pixel[format];
        in = make(format, n, 5, 3, n + 1);
        out = make(format, n, 20, 12, 1);
        if (format >= SSMOESR_FORMAT_RGBF32)
            memset(in.data[0], 0, in.stride[0] * 2 + 5 * n);
        CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
        CHECK(gaps_are_whole(&out, n));
        free(in.data[0]);
        free(out.data[0]);
    }
}

static void yuv(ssmoesr_upscaler *u)
{
    static unsigned char small[16 * 16 * 2], large[64 * 64 * 2];
    ssmoesr_picture in, out, bad;
    static const int matrices[] = {0, 1, 6, 7, 9};
    int i;

    CHECK(ssmoesr_picture_init(&in, sizeof in) == SSMOESR_OK);
    in.format = SSMOESR_FORMAT_I420;
    in.width = in.height = 5;
    in.data[0] = small;
    in.data[1] = small + 100;
    in.data[2] = small + 200;
    in.stride[0] = 5;
    in.stride[1] = in.stride[2] = 3;
    out = in;
    out.width = out.height = 20;
    out.data[0] = large;
    out.data[1] = large + 400;
    out.data[2] = large + 500;
    out.stride[0] = 20;
    out.stride[1] = out.stride[2] = 10;
    for (i = slow ? 5 : 0; i < 5; i++) {
        in.matrix = out.matrix = matrices[i];
        in.range = out.range = i % 3;
        in.siting = out.siting = i % 4;
        CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
    }
    BAD(in, bad.matrix = 2, SSMOESR_ERROR_ARGUMENT, "matrix");
    BAD(in, bad.range = 3, SSMOESR_ERROR_ARGUMENT, "range");
    BAD(in, bad.siting = -1, SSMOESR_ERROR_ARGUMENT, "siting");
    BAD(in, bad.data[2] = NULL, SSMOESR_ERROR_ARGUMENT, "data[2]");
    BAD(in, bad.stride[1] = 2, SSMOESR_ERROR_INPUT, "stride[1]");
    BAD(out, bad.data[2] = large + 499, SSMOESR_ERROR_INPUT, "planes overlap");
    in.format = out.format = SSMOESR_FORMAT_NV12;
    in.stride[1] = 6;
    out.stride[1] = 20;
    CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
}

/* Planes of floats, each with rows of its own length; the same picture packed. */
static void planar(ssmoesr_upscaler *u)
{
    static float small[4][6 * 9], large[4][24 * 33], packed[6 * 8 * 4], wide[24 * 32 * 4];
    ssmoesr_picture in, out, bad;
    unsigned p, x, y, planes;

    for (planes = slow ? 4 : 3; planes <= 4; planes++) {
        CHECK(ssmoesr_picture_init(&in, sizeof in) == SSMOESR_OK);
        in.format = planes == 3 ? SSMOESR_FORMAT_RGBPF32 : SSMOESR_FORMAT_RGBAPF32;
        in.width = 8;
        in.height = 6;
        out = in;
        out.width = 32;
        out.height = 24;
        for (p = 0; p < planes; p++) {
            for (y = 0; y < 6; y++)
                for (x = 0; x < 8; x++)
                    packed[(y * 8 + x) * planes + p] = small[p][y * 9 + x] =
                        (float)((p * 31 + y * 17 + x * 5) % 64) / 63;
            in.data[p] = small[p];
            in.stride[p] = 9 * sizeof(float);
            out.data[p] = large[p];
            out.stride[p] = 33 * sizeof(float);
            for (y = 0; y < 24; y++)
                large[p][y * 33 + 32] = 77;
        }
        CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
        BAD(in, bad.data[planes - 1] = NULL, SSMOESR_ERROR_ARGUMENT, "NULL");
        BAD(in, bad.stride[1] = 31, SSMOESR_ERROR_INPUT, "stride[1] is 31");
        BAD(out, bad.data[1] = large[0], SSMOESR_ERROR_INPUT, "planes overlap");
        BAD(out, (bad.format = SSMOESR_FORMAT_RGBF32, bad.stride[0] = 384), SSMOESR_ERROR_INPUT, "32x24");

        in.format = out.format = planes == 3 ? SSMOESR_FORMAT_RGBF32 : SSMOESR_FORMAT_RGBAF32;
        in.data[0] = packed;
        in.stride[0] = 8 * planes * sizeof(float);
        out.data[0] = wide;
        out.stride[0] = 32 * planes * sizeof(float);
        CHECK(ssmoesr_upscaler_run(u, NULL, &in, &out, NULL, NULL) == SSMOESR_OK);
        for (p = 0; p < planes; p++)
            for (y = 0; y < 24; y++) {
                CHECK(large[p][y * 33 + 32] == 77);
                for (x = 0; x < 32; x++)
                    CHECK(large[p][y * 33 + x] == wide[(y * 32 + x) * planes + p]);
            }
    }
}

static int messages;

static void on_log(void *user, int32_t level, const char *text)
{
    CHECK(user == &messages && level >= SSMOESR_LOG_ERROR && level <= SSMOESR_LOG_DEBUG && text[0] != '\0');
    FAILS(ssmoesr_set_log(NULL, NULL, 0), SSMOESR_ERROR_ARGUMENT, "callback");
    messages++;
}

static void logging(void)
{
    ssmoesr_upscaler *u = NULL;

    FAILS(ssmoesr_set_log(on_log, &messages, 0), SSMOESR_ERROR_ARGUMENT, "level is 0");
    FAILS(ssmoesr_set_log(on_log, &messages, 5), SSMOESR_ERROR_ARGUMENT, "level is 5");
    CHECK(ssmoesr_set_log(on_log, &messages, SSMOESR_LOG_INFO) == SSMOESR_OK);
    CHECK(ssmoesr_upscaler_new(NULL, &u) == SSMOESR_OK && messages == 1);
    FAILS(ssmoesr_upscaler_run(u, NULL, NULL, NULL, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "NULL");
    CHECK(messages == 1);
    CHECK(ssmoesr_set_log(on_log, &messages, SSMOESR_LOG_DEBUG) == SSMOESR_OK);
    FAILS(ssmoesr_upscaler_run(u, NULL, NULL, NULL, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "NULL");
    CHECK(messages == 2);
    CHECK(ssmoesr_set_log(NULL, NULL, 77) == SSMOESR_OK);
    ssmoesr_upscaler_free(&u);
    CHECK(ssmoesr_upscaler_new(NULL, &u) == SSMOESR_OK && messages == 2);
    ssmoesr_upscaler_free(&u);
}

int main(int argc, char **argv)
{
    ssmoesr_upscaler *u = NULL, *none = NULL;

    slow = getenv("SLOW") != NULL;
    versions();
    structs();
    options();
    older_options();
    broken_models(argc - 1, argv + 1);
    CHECK(ssmoesr_upscaler_new(NULL, &u) == SSMOESR_OK && u != NULL);
    queries(u);
    older_program(u);
    pictures(u);
    yuv(u);
    planar(u);
    logging();

    /* Freed twice: the first sets the pointer to NULL. The text of a failure stays. */
    FAILS(ssmoesr_upscaler_run(u, NULL, NULL, NULL, NULL, NULL), SSMOESR_ERROR_ARGUMENT, "NULL");
    ssmoesr_upscaler_free(&u);
    CHECK(u == NULL && strstr(ssmoesr_last_error(), "NULL") != NULL);
    ssmoesr_upscaler_free(&u);
    ssmoesr_upscaler_free(&none);
    ssmoesr_upscaler_free(NULL);
    puts("calls: good");
    return 0;
}

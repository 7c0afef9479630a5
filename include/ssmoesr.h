/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ssmoesr: enlarges pictures and video 4 or 8 times with a small diffusion network.
 *
 * This header is the manual. A whole program:
 *
 * @code
 * #include <ssmoesr.h>
 * #include <stdio.h>
 *
 * int enlarge(const unsigned char *small, unsigned char *large, unsigned width, unsigned height)
 * {
 *     ssmoesr_upscaler *upscaler = NULL;
 *     ssmoesr_picture in, out;
 *     ssmoesr_status status;
 *
 *     ssmoesr_picture_init(&in, sizeof in);
 *     in.format = SSMOESR_FORMAT_RGB8;
 *     in.width = width;
 *     in.height = height;
 *     in.data[0] = (void *)small;
 *     in.stride[0] = (size_t)width * 3;
 *     out = in;
 *     out.width = width * 4;
 *     out.height = height * 4;
 *     out.data[0] = large;
 *     out.stride[0] = (size_t)width * 4 * 3;
 *
 *     status = ssmoesr_upscaler_new(NULL, &upscaler);
 *     if (status == SSMOESR_OK)
 *         status = ssmoesr_upscaler_run(upscaler, NULL, &in, &out, NULL, NULL);
 *     if (status != SSMOESR_OK)
 *         fprintf(stderr, "%s: %s\n", ssmoesr_status_string(status), ssmoesr_last_error());
 *     ssmoesr_upscaler_free(&upscaler);
 *     return status == SSMOESR_OK;
 * }
 * @endcode
 *
 * RULES THAT HOLD EVERYWHERE
 *
 * Status    A function that can fail returns a status: 0 is success, positive numbers say that there is nothing yet,
 *           negative ones are errors. ssmoesr_last_error() then holds one line about what is wrong and what to do.
 * Memory    What you pass in stays yours and is not kept after the call, unless the function says otherwise.
 *           What the library makes is given back with the function that ends in _free. Strings that it returns are its
 *           own: never free or change them. Samples are read from and written to your memory; nothing is copied out
 *           for you to free.
 * NULL      Is an error (SSMOESR_ERROR_ARGUMENT), unless the function says that it is taken.
 * Structs   Set them up with their _init function and the sizeof that you were compiled with. Fields are only ever
 *           appended: a program runs with every later library of the same API version, and with an earlier one as long
 *           as it leaves the fields that are unknown there as zero bytes.
 * Threads   Every function may be called from any thread, on the same object too, with one exception: while an object
 *           is being freed, nobody else may use it. The library starts threads of its own only for an object, and they
 *           end with it. (Where a build has the device "reference", which is for comparisons, that one leaves some.)
 * Callbacks Run on the thread that is named there. They must return: no longjmp, no C++ exception. In a callback only
 *           ssmoesr_upscaler_cancel, ssmoesr_status_string, ssmoesr_version, ssmoesr_version_string and
 *           ssmoesr_last_error may be called; other functions return SSMOESR_ERROR_ARGUMENT there.
 * Process   The library sets no signal handler, locale or environment variable, writes nothing to standard output or
 *           error, opens no network connection, and registers nothing at exit. It reads SSMOESR_MODEL, SSMOESR_DEVICE,
 *           SSMOESR_CPU and SSMOESR_THREADS. dlopen and dlclose are fine; once loaded, the code stays mapped.
 *           After fork() the child must not use objects of its parent.
 * Memory    that cannot be had is SSMOESR_ERROR_LIMIT. For the small requests that cannot be given up in mid-way the library
 * shortage  keeps 4 MiB of its own, and begins no new work while half of it is in use. Where it runs out within one call
 *           all the same, the process ends: a model description or a list of tensors far beyond any real one can do that.
 * Defects   A defect of the library is caught and becomes SSMOESR_ERROR_INTERNAL; free the object then.
 */
#ifndef SSMOESR_H
#define SSMOESR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ---------------------------------------------------------------------------------------------------- */

#define SSMOESR_VERSION_MAJOR 0
#define SSMOESR_VERSION_MINOR 1
#define SSMOESR_VERSION_PATCH 0

/* Number of the binary interface, also in the name libssmoesr.so.N. Another number means: compile again. */
#define SSMOESR_API_VERSION 0

#define SSMOESR_MAKE_VERSION(major, minor, patch) (((major) << 16) | ((minor) << 8) | (patch))
/* Version of this header. */
#define SSMOESR_VERSION SSMOESR_MAKE_VERSION(SSMOESR_VERSION_MAJOR, SSMOESR_VERSION_MINOR, SSMOESR_VERSION_PATCH)

/* Version of the library that runs, to compare with SSMOESR_VERSION. */
uint32_t ssmoesr_version(void);

/* The same as text, such as "0.1.0". Never NULL. */
const char *ssmoesr_version_string(void);

/* ---- Status ----------------------------------------------------------------------------------------------------- */

/* An integer and not an enum: its size is the same for every compiler. Numbers keep their meaning for ever. */
typedef int32_t ssmoesr_status;

#define SSMOESR_OK 0
#define SSMOESR_AGAIN 1             /* not now: the queue is full, or the time is over */
#define SSMOESR_EMPTY 2             /* there is no frame to wait for */
#define SSMOESR_ERROR_ARGUMENT (-1) /* the call itself is wrong: NULL, unknown number, struct size, use in a callback */
#define SSMOESR_ERROR_INPUT (-2)    /* the picture cannot be used: size, stride, overlap */
#define SSMOESR_ERROR_OPTION (-3)   /* an option has a value that is not possible */
#define SSMOESR_ERROR_MODEL (-4)    /* the model is missing or broken */
#define SSMOESR_ERROR_DEVICE (-5)   /* the device is not there or failed */
#define SSMOESR_ERROR_LIMIT (-6)    /* too large, or memory cannot be had */
#define SSMOESR_ERROR_IO (-7)       /* reading a file failed */
#define SSMOESR_ERROR_CANCELLED (-8)
#define SSMOESR_ERROR_INTERNAL (-9) /* a defect of the library */

/* A few words for a status, in English, also for unknown numbers. Never NULL. */
const char *ssmoesr_status_string(ssmoesr_status status);

/* One line, UTF-8, about the last call of this thread that returned a status: "" where it succeeded. Valid until the
 * next call of this thread; longer lines than 1023 bytes are cut. Never NULL. */
const char *ssmoesr_last_error(void);

/* ---- Log -------------------------------------------------------------------------------------------------------- */

#define SSMOESR_LOG_ERROR 1
#define SSMOESR_LOG_WARNING 2
#define SSMOESR_LOG_INFO 3
#define SSMOESR_LOG_DEBUG 4

/* `text` is one line, UTF-8, valid during the call. Comes from any thread, also from several at a time. */
typedef void (*ssmoesr_log_fn)(void *user, int32_t level, const char *text);

/* Sends messages of `level` and more important ones to `log`, for the whole process. NULL ends it; `level` is ignored
 * then. Nothing is logged at first. When the function returns, the earlier callback is not running and will not be
 * called again.
 * Errors: ARGUMENT for an unknown level; the earlier callback stays then. */
ssmoesr_status ssmoesr_set_log(ssmoesr_log_fn log, void *user, int32_t level);

/* ---- Pictures --------------------------------------------------------------------------------------------------- */

/* Layout of samples. Integers of 16 bit and floats are in native byte order and need not be aligned; alpha is straight;
 * RGB is coded for display (sRGB or the like). X is a byte that is not read. */
#define SSMOESR_FORMAT_GRAY8 1
#define SSMOESR_FORMAT_GRAYA8 2
#define SSMOESR_FORMAT_GRAY16 3
#define SSMOESR_FORMAT_GRAYA16 4
#define SSMOESR_FORMAT_RGB8 5
#define SSMOESR_FORMAT_BGR8 6
#define SSMOESR_FORMAT_RGBX8 7
#define SSMOESR_FORMAT_BGRX8 8
#define SSMOESR_FORMAT_XRGB8 9
#define SSMOESR_FORMAT_XBGR8 10
#define SSMOESR_FORMAT_RGBA8 11
#define SSMOESR_FORMAT_BGRA8 12
#define SSMOESR_FORMAT_ARGB8 13
#define SSMOESR_FORMAT_ABGR8 14
#define SSMOESR_FORMAT_RGB16 15
#define SSMOESR_FORMAT_RGBA16 16
#define SSMOESR_FORMAT_RGBF32 17   /* 0 to 1, what comes out is never beyond */
#define SSMOESR_FORMAT_RGBAF32 18  /* as above */
#define SSMOESR_FORMAT_I420 19     /* planes Y, U, V; chroma has half the size, rounded up */
#define SSMOESR_FORMAT_NV12 20     /* planes Y, UV */
#define SSMOESR_FORMAT_RGBPF32 21  /* planes R, G, B, as RGBF32 */
#define SSMOESR_FORMAT_RGBAPF32 22 /* planes R, G, B, alpha, as RGBAF32 */

/* How YUV is coded; without meaning for other formats. Numbers as in ITU-T H.273 and FFmpeg; 0 is the default. */
#define SSMOESR_MATRIX_DEFAULT 0 /* BT.709 */
#define SSMOESR_MATRIX_BT709 1
#define SSMOESR_MATRIX_BT601 6
#define SSMOESR_MATRIX_SMPTE240M 7
#define SSMOESR_MATRIX_BT2020 9
#define SSMOESR_RANGE_DEFAULT 0 /* limited */
#define SSMOESR_RANGE_LIMITED 1
#define SSMOESR_RANGE_FULL 2
#define SSMOESR_SITING_DEFAULT 0 /* left */
#define SSMOESR_SITING_LEFT 1
#define SSMOESR_SITING_CENTER 2
#define SSMOESR_SITING_TOPLEFT 3

/* Largest width and height, of what goes in and of what comes out. */
#define SSMOESR_MAX_SIDE 1048576

/* Samples in your memory. Plane i begins at data[i]; stride[i] is the number of BYTES from row to row and may be larger
 * than a row; the last row may end early. Planes that the format does not have are ignored. */
typedef struct ssmoesr_picture {
    size_t struct_size;
    int32_t format;
    uint32_t width;
    uint32_t height;
    int32_t matrix;
    int32_t range;
    int32_t siting;
    void *data[4]; /* only read where the picture is an input */
    size_t stride[4];
} ssmoesr_picture;

/* Sets `picture` to no format, no size, default colours. `struct_size` is sizeof(ssmoesr_picture).
 * Errors: ARGUMENT for NULL or an impossible size; nothing is written then. */
ssmoesr_status ssmoesr_picture_init(ssmoesr_picture *picture, size_t struct_size);

/* ---- Options ---------------------------------------------------------------------------------------------------- */

typedef struct ssmoesr_options {
    size_t struct_size;
    const char *model;      /* name or folder, UTF-8; NULL: SSMOESR_MODEL, else the model installed with the library */
    const char *device;     /* a name that ssmoesr_device_name gives; NULL or "auto": SSMOESR_DEVICE, else the best */
    const char *sampler;    /* "shift", "ddim"; NULL: the model's own */
    const char *colour_fix; /* "none", "adain", "wavelet"; NULL: the model's own */
    uint64_t seed;          /* of the noise: the same seed gives the same picture. Default 0 */
    double fidelity;        /* 0..1: 1 stays close to the input, 0 adds the most texture. Default -1: the model's own */
    double eta;             /* 0..1, share of fresh noise per step. Default -1: the model's own, 0 for a stream */
    uint32_t scale;         /* 4 or 8. Default 4 */
    uint32_t steps;         /* 1..1000 sampling steps. Default 0: the model's own */
    uint32_t tile_size;     /* 1..4096 input pixels. Default 0: by memory */
    uint32_t threads;       /* 1..1024. Default 0: SSMOESR_THREADS, else all processors */
    const char *tile_mode;  /* "joint": tiles are merged after every step; "independent": at the end. NULL: joint */
    const char *precision;  /* of the network: "f32", "f16", "bf16" where the device has them; NULL or "auto": its own */
    uint32_t tile_overlap;  /* 1..256 input pixels that tiles share. Default 0: what the network needs */
    uint32_t reserved;      /* 0 */
} ssmoesr_options;

/* Sets every option to its default. `struct_size` is sizeof(ssmoesr_options). Zero bytes are no substitute: fidelity 0
 * and eta 0 are wishes.
 * Errors: ARGUMENT for NULL or an impossible size; nothing is written then. */
ssmoesr_status ssmoesr_options_init(ssmoesr_options *options, size_t struct_size);

/* ---- What there is ---------------------------------------------------------------------------------------------- */

/* Name and one sentence of device number `index` of this build; NULL where there are no more. Valid for ever. */
const char *ssmoesr_device_name(size_t index);
const char *ssmoesr_device_description(size_t index);

typedef struct ssmoesr_model_info {
    size_t struct_size;
    uint32_t scales[8];  /* those it can do, then zeros */
    char name[64];
    char version[64];
    char family[64];     /* "native" or "published" */
    char licence[256];   /* of the weights, an SPDX expression */
    char folder[4096];
} ssmoesr_model_info;

/* Reads what a model says of itself, without loading it. `model` as in the options, NULL is taken. `struct_size` is
 * sizeof(ssmoesr_model_info). Texts end with a zero byte.
 * Errors: ARGUMENT, OPTION, MODEL, IO; LIMIT where a text does not fit. `info` is unspecified then. */
ssmoesr_status ssmoesr_model_query(const char *model, ssmoesr_model_info *info, size_t struct_size);

/* ---- Upscaler: a model on a device ------------------------------------------------------------------------------ */

typedef struct ssmoesr_upscaler ssmoesr_upscaler;

/* A program that was compiled for another API version does not link. Under dlsym, ask for ssmoesr_upscaler_new_v0. */
#define SSMOESR_GLUE_(name, version) name##_v##version
#define SSMOESR_GLUE(name, version) SSMOESR_GLUE_(name, version)
#define ssmoesr_upscaler_new SSMOESR_GLUE(ssmoesr_upscaler_new, SSMOESR_API_VERSION)

/* Opens the model and the device that `options` name; NULL is taken for the defaults. The other options become the
 * upscaler's own, for calls without options. Upscalers of the same folder, device and threads share weights and working
 * memory and take turns; each is cancelled and freed by itself. On failure *upscaler is NULL.
 * Errors: ARGUMENT, OPTION, MODEL, DEVICE, LIMIT, IO. */
ssmoesr_status ssmoesr_upscaler_new(const ssmoesr_options *options, ssmoesr_upscaler **upscaler);

/* Ends the upscaler and sets *upscaler to NULL, so that a second call does nothing. NULL and a pointer to NULL are
 * taken. Streams on it go on. No call may be running on it: cancel, wait for the calls to return, then free. */
void ssmoesr_upscaler_free(ssmoesr_upscaler **upscaler);

/* Called on the thread of the call that it was given to: once with done = 0, then after each of `total` units of work,
 * which take about equal times. Return 0 to go on; anything else cancels this call. */
typedef int32_t (*ssmoesr_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Enlarges `in` into `out`, which has the same format and sides `scale` times as long; returns when it is done. NULL is
 * taken for `options` (the upscaler's own), `progress` and `user`. Of the options model, device and threads are
 * checked, but those of the upscaler hold. Calls from several threads run one after the other, each with all threads.
 * The memory of `in` must not change and that of `out` must not be touched during the call; they must not overlap, nor
 * the planes of `out` one another (from first to last byte). Bytes between the rows of `out` are not written.
 * Errors: ARGUMENT, INPUT, OPTION, MODEL, DEVICE, LIMIT, IO, CANCELLED. Samples of `out` are unspecified then; the
 * upscaler stays usable. */
ssmoesr_status ssmoesr_upscaler_run(ssmoesr_upscaler *upscaler, const ssmoesr_options *options,
                                    const ssmoesr_picture *in, const ssmoesr_picture *out,
                                    ssmoesr_progress_fn progress, void *user);

/* Makes calls of ssmoesr_upscaler_run on this upscaler return SSMOESR_ERROR_CANCELLED soon: those that run, those that
 * wait, and those to come until ssmoesr_upscaler_resume. So a cancel that comes a moment before the call is not lost.
 * Soon is below 200 ms; while the first picture's weights are read, after the tensor at hand.
 * Returns at once; may be called from a signal handler and from callbacks. NULL is taken. Streams go on. */
void ssmoesr_upscaler_cancel(ssmoesr_upscaler *upscaler);

/* Takes the cancel back, for calls to come. Wait for cancelled calls to return first, or they may go on. NULL is taken. */
void ssmoesr_upscaler_resume(ssmoesr_upscaler *upscaler);

/* Size of the result for an input of `width` x `height`.
 * Errors: ARGUMENT, OPTION (the model cannot do `scale`), INPUT or LIMIT (impossible size); *out_width and *out_height
 * are unchanged then. */
ssmoesr_status ssmoesr_upscaler_output_size(ssmoesr_upscaler *upscaler, uint32_t width, uint32_t height, uint32_t scale,
                                            uint32_t *out_width, uint32_t *out_height);

typedef struct ssmoesr_plan {
    size_t struct_size;
    uint64_t tiles;      /* worked on one after the other */
    uint64_t units;      /* `total` of the progress callback */
    uint64_t bytes;      /* about what a call takes besides your pictures and the weights */
    uint32_t out_width;
    uint32_t out_height;
    uint32_t tile_width; /* input pixels, with the part shared by neighbours */
    uint32_t tile_height;
    uint64_t steps; /* each runs the network once per tile */
    double gflop;   /* 10^9 floating-point operations, about */
} ssmoesr_plan;

/* How a picture of `width` x `height` would be worked on with `options` (NULL: the upscaler's own). `struct_size` is
 * sizeof(ssmoesr_plan). Computes little, allocates no pictures.
 * Errors: ARGUMENT, OPTION, INPUT, LIMIT. `plan` is unspecified then. */
ssmoesr_status ssmoesr_upscaler_plan(ssmoesr_upscaler *upscaler, const ssmoesr_options *options, uint32_t width,
                                     uint32_t height, ssmoesr_plan *plan, size_t struct_size);

/* What the upscaler's model says of itself; like ssmoesr_model_query. */
ssmoesr_status ssmoesr_upscaler_model(ssmoesr_upscaler *upscaler, ssmoesr_model_info *info, size_t struct_size);

/* Name of the device that computes. Valid as long as the upscaler; NULL only for NULL. */
const char *ssmoesr_upscaler_device(ssmoesr_upscaler *upscaler);

/* ---- Stream: the frames of one video, in order ------------------------------------------------------------------ */

/*
 * Frames are submitted and fetched in the same order, by one thread or two:
 *
 * @code
 * #include <ssmoesr.h>
 *
 * ssmoesr_status two_frames(ssmoesr_upscaler *upscaler, const ssmoesr_picture in[2], const ssmoesr_picture out[2])
 * {
 *     ssmoesr_stream *stream = NULL;
 *     ssmoesr_status status = ssmoesr_stream_new(upscaler, NULL, &stream);
 *     int i;
 *
 *     for (i = 0; i < 2 && status == SSMOESR_OK; i++)
 *         status = ssmoesr_stream_submit(stream, &in[i], &out[i], NULL);
 *     for (i = 0; i < 2 && status == SSMOESR_OK; i++)
 *         status = ssmoesr_stream_wait(stream, -1, NULL);
 *     ssmoesr_stream_free(&stream);
 *     return status;
 * }
 * @endcode
 */
typedef struct ssmoesr_stream ssmoesr_stream;

/* Frames that a stream holds at most, submitted and not fetched. */
#define SSMOESR_STREAM_FRAMES 16

/* Starts a stream on `upscaler`, with a thread of its own. NULL is taken for `options` (the upscaler's own); where they
 * leave eta open it is 0, so that frames do not flicker. Streams and single pictures share the upscaler by turns; the
 * stream keeps what it needs of it, so that the upscaler may be freed first. On failure *stream is NULL.
 * Errors: ARGUMENT, OPTION, LIMIT. */
ssmoesr_status ssmoesr_stream_new(ssmoesr_upscaler *upscaler, const ssmoesr_options *options, ssmoesr_stream **stream);

/* Flushes, ends the thread, forgets the frames that were not fetched, and sets *stream to NULL. When it returns no
 * memory of any frame is used any more. NULL and a pointer to NULL are taken. No call may be running on it. */
void ssmoesr_stream_free(ssmoesr_stream **stream);

/* Queues a frame and returns at once. The descriptors are copied; the memory that they lead to is used until the frame
 * was fetched by ssmoesr_stream_wait, or the stream freed. `tag` is yours, NULL is taken. Pictures as in
 * ssmoesr_upscaler_run; frames in flight must not share memory that is written.
 * Returns AGAIN where SSMOESR_STREAM_FRAMES frames are held: fetch one first.
 * Errors: ARGUMENT, OPTION, INPUT, LIMIT; the frame is not queued then. */
ssmoesr_status ssmoesr_stream_submit(ssmoesr_stream *stream, const ssmoesr_picture *in, const ssmoesr_picture *out,
                                     void *tag);

/* Fetches the oldest frame: waits until it is done, gives its tag (NULL is taken for `tag`) and returns its status:
 * OK, MODEL, DEVICE, LIMIT, IO, CANCELLED or INTERNAL. Other frames are not touched by the failure of one.
 * Without a frame: EMPTY where none is held, AGAIN where `timeout_ms` milliseconds are over (0: do not wait, negative:
 * for ever), ARGUMENT for a wrong call. *tag is unchanged then. */
ssmoesr_status ssmoesr_stream_wait(ssmoesr_stream *stream, int32_t timeout_ms, void **tag);

/* After a seek or a cut: cancels the frames that are not done and forgets what was seen so far. When it returns, no
 * memory of a held frame is used; all of them are still to be fetched, the cancelled ones with CANCELLED.
 * Errors: ARGUMENT. */
ssmoesr_status ssmoesr_stream_flush(ssmoesr_stream *stream);

#ifdef __cplusplus
}
#endif

#endif

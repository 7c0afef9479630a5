// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ssmoesr for C++11 and later: objects that free themselves. Header only; the C header beside it is the manual.
//
// Errors come as exceptions, or as status codes from open() and the functions whose names begin with try_. Where the
// compiler has exceptions off, or SSMOESR_EXCEPTIONS is defined as 0 before this header, only the latter are there.
//
// @code
// #include <ssmoesr.hpp>
// #include <vector>
//
// std::vector<unsigned char> enlarge(std::vector<unsigned char> &rgb, unsigned width, unsigned height)
// {
//     std::vector<unsigned char> large(rgb.size() * 16);
//     ssmoesr::Upscaler upscaler;
//     upscaler.run(ssmoesr::packed(SSMOESR_FORMAT_RGB8, width, height, rgb.data(), width * 3),
//                  ssmoesr::packed(SSMOESR_FORMAT_RGB8, width * 4, height * 4, large.data(), width * 12));
//     return large;
// }
//
// // The same without exceptions.
// ssmoesr_status enlarge(const ssmoesr_picture &small, const ssmoesr_picture &large)
// {
//     ssmoesr::Upscaler upscaler(nullptr);
//     const ssmoesr_status status = upscaler.open();
//     return status == SSMOESR_OK ? upscaler.try_run(small, large) : status;
// }
// @endcode
#ifndef SSMOESR_HPP
#define SSMOESR_HPP

#include "ssmoesr.h"

#ifndef SSMOESR_EXCEPTIONS
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define SSMOESR_EXCEPTIONS 1
#else
#define SSMOESR_EXCEPTIONS 0
#endif
#endif

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#if SSMOESR_EXCEPTIONS
#include <exception>
#include <stdexcept>
#endif

namespace ssmoesr {
// Two names, so that files of one program may differ in this.
#if SSMOESR_EXCEPTIONS
inline namespace throwing {
#else
inline namespace plain {
#endif

#if SSMOESR_EXCEPTIONS
// What a failed call throws; what() is the text of ssmoesr_last_error().
class Error : public std::runtime_error {
public:
    Error(ssmoesr_status status, const std::string &text) : std::runtime_error(text), status_(status) {}
    ssmoesr_status status() const noexcept { return status_; }

private:
    ssmoesr_status status_;
};

// Throws for errors; gives back OK, AGAIN and EMPTY.
inline ssmoesr_status check(ssmoesr_status status)
{
    if (status < SSMOESR_OK) {
        const char *text = ssmoesr_last_error();
        throw Error(status, *text != '\0' ? text : ssmoesr_status_string(status));
    }
    return status;
}
#endif

// Options with texts of their own; the fields are those of ssmoesr_options. Empty texts leave the choice open.
struct Options {
    std::string model, device, sampler, colour_fix, tile_mode, precision;
    uint64_t seed;
    double fidelity, eta;
    uint32_t scale, steps, tile_size, threads, tile_overlap;

    Options()
    {
        const ssmoesr_options c = defaults();
        seed = c.seed;
        fidelity = c.fidelity;
        eta = c.eta;
        scale = c.scale;
        steps = c.steps;
        tile_size = c.tile_size;
        threads = c.threads;
        tile_overlap = c.tile_overlap;
    }

    // Points into this object.
    ssmoesr_options c() const
    {
        ssmoesr_options c = defaults();
        c.model = model.empty() ? nullptr : model.c_str();
        c.device = device.empty() ? nullptr : device.c_str();
        c.sampler = sampler.empty() ? nullptr : sampler.c_str();
        c.colour_fix = colour_fix.empty() ? nullptr : colour_fix.c_str();
        c.tile_mode = tile_mode.empty() ? nullptr : tile_mode.c_str();
        c.precision = precision.empty() ? nullptr : precision.c_str();
        c.tile_overlap = tile_overlap;
        c.seed = seed;
        c.fidelity = fidelity;
        c.eta = eta;
        c.scale = scale;
        c.steps = steps;
        c.tile_size = tile_size;
        c.threads = threads;
        return c;
    }

private:
    static ssmoesr_options defaults()
    {
        ssmoesr_options c = ssmoesr_options();
        // Fails in callbacks alone; every function refuses what stays zero then.
        ssmoesr_options_init(&c, sizeof c);
        return c;
    }
};

// A descriptor without samples.
inline ssmoesr_picture picture()
{
    ssmoesr_picture c = ssmoesr_picture();
    // As in Options.
    ssmoesr_picture_init(&c, sizeof c);
    return c;
}

// A descriptor of samples in one plane. Samples of an input are not written.
inline ssmoesr_picture packed(int32_t format, uint32_t width, uint32_t height, const void *data, size_t stride)
{
    ssmoesr_picture c = picture();
    c.format = format;
    c.width = width;
    c.height = height;
    c.data[0] = const_cast<void *>(data);
    c.stride[0] = stride;
    return c;
}

// Returns true to go on. What it throws comes out of run() and try_run().
typedef std::function<bool(uint64_t done, uint64_t total)> Progress;

// A model on a device. Thread-safe but for open(), moves and destruction.
class Upscaler {
public:
    // Without a model: calls fail with ARGUMENT until open().
    explicit Upscaler(std::nullptr_t) noexcept : c_(nullptr) {}
    Upscaler(Upscaler &&other) noexcept : c_(other.c_) { other.c_ = nullptr; }
    Upscaler &operator=(Upscaler &&other) noexcept
    {
        std::swap(c_, other.c_);
        return *this;
    }
    Upscaler(const Upscaler &) = delete;
    Upscaler &operator=(const Upscaler &) = delete;
    ~Upscaler() { ssmoesr_upscaler_free(&c_); }

    // Ends what was open before. After a failure nothing is open.
    ssmoesr_status open(const Options &options = Options())
    {
        const ssmoesr_options o = options.c();
        ssmoesr_upscaler_free(&c_);
        return ssmoesr_upscaler_new(&o, &c_);
    }
    // With the upscaler's own options.
    ssmoesr_status try_run(const ssmoesr_picture &in, const ssmoesr_picture &out, const Progress &progress = Progress())
    {
        return work(nullptr, in, out, progress);
    }
    ssmoesr_status try_run(const Options &options, const ssmoesr_picture &in, const ssmoesr_picture &out,
                           const Progress &progress = Progress())
    {
        const ssmoesr_options o = options.c();
        return work(&o, in, out, progress);
    }
    ssmoesr_status try_output_size(uint32_t width, uint32_t height, uint32_t scale,
                                   std::pair<uint32_t, uint32_t> &size) const
    {
        return ssmoesr_upscaler_output_size(c_, width, height, scale, &size.first, &size.second);
    }
    ssmoesr_status try_plan(const Options &options, uint32_t width, uint32_t height, ssmoesr_plan &plan) const
    {
        const ssmoesr_options o = options.c();
        return ssmoesr_upscaler_plan(c_, &o, width, height, &plan, sizeof plan);
    }
    ssmoesr_status try_model(ssmoesr_model_info &info) const
    {
        return ssmoesr_upscaler_model(c_, &info, sizeof info);
    }

    void cancel() noexcept { ssmoesr_upscaler_cancel(c_); }
    void resume() noexcept { ssmoesr_upscaler_resume(c_); }

    // Empty where nothing is open.
    std::string device() const { return c_ == nullptr ? "" : ssmoesr_upscaler_device(c_); }

    // For functions of the C header; stays the object's own.
    ssmoesr_upscaler *c() const noexcept { return c_; }

#if SSMOESR_EXCEPTIONS
    Upscaler() : c_(nullptr) { check(open()); }
    explicit Upscaler(const Options &options) : c_(nullptr) { check(open(options)); }

    void run(const ssmoesr_picture &in, const ssmoesr_picture &out, const Progress &progress = Progress())
    {
        check(try_run(in, out, progress));
    }
    void run(const Options &options, const ssmoesr_picture &in, const ssmoesr_picture &out,
             const Progress &progress = Progress())
    {
        check(try_run(options, in, out, progress));
    }
    std::pair<uint32_t, uint32_t> output_size(uint32_t width, uint32_t height, uint32_t scale) const
    {
        std::pair<uint32_t, uint32_t> size;
        check(try_output_size(width, height, scale, size));
        return size;
    }
    ssmoesr_plan plan(const Options &options, uint32_t width, uint32_t height) const
    {
        ssmoesr_plan plan;
        check(try_plan(options, width, height, plan));
        return plan;
    }
    ssmoesr_model_info model() const
    {
        ssmoesr_model_info info;
        check(try_model(info));
        return info;
    }
#endif

private:
    struct Call {
        const Progress *progress;
#if SSMOESR_EXCEPTIONS
        std::exception_ptr thrown;
#endif
    };
    static int32_t tell(void *user, uint64_t done, uint64_t total)
    {
        Call *call = static_cast<Call *>(user);
#if SSMOESR_EXCEPTIONS
        // No exception may pass through the library.
        try {
            return (*call->progress)(done, total) ? 0 : 1;
        } catch (...) {
            call->thrown = std::current_exception();
            return 1;
        }
#else
        return (*call->progress)(done, total) ? 0 : 1;
#endif
    }
    ssmoesr_status work(const ssmoesr_options *options, const ssmoesr_picture &in, const ssmoesr_picture &out,
                        const Progress &progress)
    {
        Call call = Call();
        call.progress = &progress;
        const ssmoesr_status status = ssmoesr_upscaler_run(c_, options, &in, &out, progress ? tell : nullptr, &call);
#if SSMOESR_EXCEPTIONS
        if (call.thrown)
            std::rethrow_exception(call.thrown);
#endif
        return status;
    }

    ssmoesr_upscaler *c_;
};

// The frames of one video. Thread-safe but for open(), moves and destruction; the destructor waits for the frame that is
// being worked on, which is cancelled.
class Stream {
public:
    // Without an upscaler: calls fail with ARGUMENT until open().
    explicit Stream(std::nullptr_t) noexcept : c_(nullptr) {}
    Stream(Stream &&other) noexcept : c_(other.c_) { other.c_ = nullptr; }
    Stream &operator=(Stream &&other) noexcept
    {
        std::swap(c_, other.c_);
        return *this;
    }
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    ~Stream() { ssmoesr_stream_free(&c_); }

    // With the upscaler's own options, or others. Ends what was open before; after a failure nothing is open.
    ssmoesr_status open(const Upscaler &upscaler)
    {
        ssmoesr_stream_free(&c_);
        return ssmoesr_stream_new(upscaler.c(), nullptr, &c_);
    }
    ssmoesr_status open(const Upscaler &upscaler, const Options &options)
    {
        const ssmoesr_options o = options.c();
        ssmoesr_stream_free(&c_);
        return ssmoesr_stream_new(upscaler.c(), &o, &c_);
    }
    ssmoesr_status try_submit(const ssmoesr_picture &in, const ssmoesr_picture &out, void *tag = nullptr)
    {
        return ssmoesr_stream_submit(c_, &in, &out, tag);
    }
    ssmoesr_status try_wait(int32_t timeout_ms = -1, void **tag = nullptr)
    {
        return ssmoesr_stream_wait(c_, timeout_ms, tag);
    }
    ssmoesr_status try_flush() { return ssmoesr_stream_flush(c_); }

    ssmoesr_stream *c() const noexcept { return c_; }

#if SSMOESR_EXCEPTIONS
    explicit Stream(const Upscaler &upscaler) : c_(nullptr) { check(open(upscaler)); }
    Stream(const Upscaler &upscaler, const Options &options) : c_(nullptr) { check(open(upscaler, options)); }

    // False where the stream is full.
    bool submit(const ssmoesr_picture &in, const ssmoesr_picture &out, void *tag = nullptr)
    {
        return check(try_submit(in, out, tag)) == SSMOESR_OK;
    }
    // OK, AGAIN or EMPTY. Throws what became of the frame; *tag is set then, too.
    ssmoesr_status wait(int32_t timeout_ms = -1, void **tag = nullptr) { return check(try_wait(timeout_ms, tag)); }
    void flush() { check(try_flush()); }
#endif

private:
    ssmoesr_stream *c_;
};

} // inline namespace
} // namespace ssmoesr

#endif

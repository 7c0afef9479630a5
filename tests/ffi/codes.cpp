// The C++ header in a program without exceptions. Argument: the folder of a small model.
#include <cstdio>
#include <ssmoesr.hpp>
#include <vector>

#define CHECK(condition)                                                                                       \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            std::fprintf(stderr, "%d: %s; last error: %s\n", __LINE__, #condition, ssmoesr_last_error());      \
            return 1;                                                                                          \
        }                                                                                                      \
    } while (0)

#if SSMOESR_EXCEPTIONS
#error "this program is to be compiled without exceptions"
#endif

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    std::vector<float> a(8 * 6 * 3, 0.5f), b(32 * 24 * 3, 0.0f);
    const ssmoesr_picture small = ssmoesr::packed(SSMOESR_FORMAT_RGBF32, 8, 6, a.data(), 8 * 3 * sizeof(float));
    const ssmoesr_picture large = ssmoesr::packed(SSMOESR_FORMAT_RGBF32, 32, 24, b.data(), 32 * 3 * sizeof(float));
    std::pair<uint32_t, uint32_t> size;
    ssmoesr_plan plan;
    ssmoesr_model_info info;

    ssmoesr::Upscaler upscaler(nullptr);
    CHECK(upscaler.try_run(small, large) == SSMOESR_ERROR_ARGUMENT && upscaler.device().empty());
    ssmoesr::Options options;
    options.model = "nobody";
    CHECK(upscaler.open(options) == SSMOESR_ERROR_MODEL && upscaler.c() == nullptr);
    options.model = argv[1];
    CHECK(upscaler.open(options) == SSMOESR_OK && upscaler.device() == "cpu");
    CHECK(upscaler.try_model(info) == SSMOESR_OK && std::string(info.name) == "made");
    CHECK(upscaler.try_output_size(8, 6, 4, size) == SSMOESR_OK && size.first == 32 && size.second == 24);
    CHECK(upscaler.try_plan(options, 8, 6, plan) == SSMOESR_OK && plan.out_width == 32);
    unsigned calls = 0;
    CHECK(upscaler.try_run(small, large, [&](uint64_t, uint64_t) { return ++calls > 0; }) == SSMOESR_OK && calls > 1);
    CHECK(upscaler.try_run(options, small, large, [](uint64_t, uint64_t) { return false; }) == SSMOESR_ERROR_CANCELLED);

    ssmoesr::Stream stream(nullptr);
    CHECK(stream.try_submit(small, large) == SSMOESR_ERROR_ARGUMENT);
    CHECK(stream.open(upscaler, options) == SSMOESR_OK && stream.open(upscaler) == SSMOESR_OK);
    CHECK(stream.try_submit(small, large, &calls) == SSMOESR_OK);
    void *tag = nullptr;
    CHECK(stream.try_wait(-1, &tag) == SSMOESR_OK && tag == &calls && stream.try_wait() == SSMOESR_EMPTY);
    CHECK(stream.try_flush() == SSMOESR_OK);
    // Moved from: empty.
    ssmoesr::Stream other(std::move(stream));
    CHECK(stream.try_flush() == SSMOESR_ERROR_ARGUMENT && other.try_flush() == SSMOESR_OK);
    std::puts("codes: good");
    return 0;
}

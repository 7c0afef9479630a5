// Enlarges a picture that it paints itself, and writes both as PPM.
//
//     c++ -std=c++11 upscale.cpp $(pkg-config --cflags --libs ssmoesr) -o upscale
//     ./upscale small.ppm large.ppm
#include <cstdio>
#include <fstream>
#include <iostream>
#include <ssmoesr.hpp>
#include <vector>

struct Image {
    uint32_t width, height;
    std::vector<unsigned char> rgb;

    Image(uint32_t w, uint32_t h) : width(w), height(h), rgb(size_t(w) * h * 3) {}
    ssmoesr_picture view() const
    {
        return ssmoesr::packed(SSMOESR_FORMAT_RGB8, width, height, rgb.data(), size_t(width) * 3);
    }
    void save(const char *path) const
    {
        std::ofstream file(path, std::ios::binary);
        file << "P6\n" << width << ' ' << height << "\n255\n";
        file.write(reinterpret_cast<const char *>(rgb.data()), std::streamsize(rgb.size()));
        if (!file.flush())
            throw std::runtime_error(std::string("cannot write ") + path);
    }
};

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " SMALL.ppm LARGE.ppm\n";
        return 2;
    }
    try {
        Image small(16, 12);
        for (uint32_t y = 0; y < small.height; y++)
            for (uint32_t x = 0; x < small.width; x++) {
                unsigned char *pixel = &small.rgb[(y * small.width + x) * 3];
                pixel[0] = static_cast<unsigned char>(x * 255 / (small.width - 1));
                pixel[1] = static_cast<unsigned char>(y * 255 / (small.height - 1));
                pixel[2] = (x / 4 + y / 4) % 2 ? 200 : 50;
            }
        ssmoesr::Options options;
        options.seed = 7;
        ssmoesr::Upscaler upscaler(options);
        const std::pair<uint32_t, uint32_t> size = upscaler.output_size(small.width, small.height, options.scale);
        Image large(size.first, size.second);
        upscaler.run(small.view(), large.view(), [](uint64_t done, uint64_t total) {
            std::cerr << '\r' << done << " of " << total;
            return true;
        });
        std::cerr << "\nmodel " << upscaler.model().name << " on " << upscaler.device() << '\n';
        small.save(argv[1]);
        large.save(argv[2]);
    } catch (const ssmoesr::Error &error) {
        std::cerr << ssmoesr_status_string(error.status()) << ": " << error.what() << '\n';
        return 1;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}

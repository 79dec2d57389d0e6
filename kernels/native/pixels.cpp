// Loops over pixels that the library has no fast form of: pictures of three or four channels, sampled anywhere.
//
// A picture's channels lie in planes in the library; a sample then gathers each of its taps once per channel. Here the
// channels of a pixel are brought side by side first, so that a tap is one load of four numbers. Positions count from
// the centre of the first pixel; outside the picture its border is repeated. kernels/native/pixels.py says what each
// function computes; nothing is allocated here, nothing is kept, and no argument is checked.

#include <cmath>
#include <cstdint>

typedef float four __attribute__((vector_size(16)));

namespace {

inline int within(int place, int size) { return place < 0 ? 0 : place >= size ? size - 1 : place; }

inline float within(float place, int size) { return place > 0 ? (place < size - 1 ? place : size - 1) : 0; }

constexpr int chunk = 128;  // places that are prepared at once, so that they stay in the nearest cache

// Samples of bilinear interpolation, each added to its sum.
void bilinear(const four* pixels, int height, int width, const float* xs, const float* ys, int count, four* sums) {
    int place[chunk], right[chunk], below[chunk];
    float across[chunk], down[chunk];
    for (int index = 0; index < count; ++index) {
        const float x = within(xs[index], width), y = within(ys[index], height);
        const int left = static_cast<int>(x), top = static_cast<int>(y);
        across[index] = x - left;
        down[index] = y - top;
        place[index] = top * width + left;
        right[index] = left + 1 < width ? 1 : 0;
        below[index] = top + 1 < height ? width : 0;
    }
    for (int index = 0; index < count; ++index) {
        const four* upper = pixels + place[index];
        const four* lower = upper + below[index];
        const int next = right[index];
        const four first = upper[0] + across[index] * (upper[next] - upper[0]);
        const four second = lower[0] + across[index] * (lower[next] - lower[0]);
        sums[index] += first + down[index] * (second - first);
    }
}

// Weights of four pixels in a row (Keys 1981 with -0.75, as the library has it); t: 0...1 from the second to the third.
struct Cubic {
    float weights[4][chunk];

    inline void set(int index, float t) {
        const float a = -0.75f, u = 1 - t;
        weights[0][index] = a * t * u * u;
        weights[1][index] = ((a + 2) * t - (a + 3)) * t * t + 1;
        weights[2][index] = ((a + 2) * u - (a + 3)) * u * u + 1;
        weights[3][index] = a * u * t * t;
    }
};

// Beyond this every tap is the border's own; what is no number lies there, too.
inline float near(float place, int size) { return place > -4 ? (place < size + 3 ? place : size + 3) : -4; }

// Samples of cubic convolution, each added to its sum.
void bicubic(const four* pixels, int height, int width, const float* xs, const float* ys, int count, four* sums) {
    int left[chunk], top[chunk];
    Cubic across, down;
    for (int index = 0; index < count; ++index) {
        const float x = near(xs[index], width), y = near(ys[index], height);
        const float x_floor = std::floor(x), y_floor = std::floor(y);
        left[index] = static_cast<int>(x_floor) - 1;
        top[index] = static_cast<int>(y_floor) - 1;
        across.set(index, x - x_floor);
        down.set(index, y - y_floor);
    }
    for (int index = 0; index < count; ++index) {
        const float a = across.weights[0][index], b = across.weights[1][index], c = across.weights[2][index],
                    d = across.weights[3][index];
        four sum = {0, 0, 0, 0};
        if (left[index] >= 0 && top[index] >= 0 && left[index] + 3 < width && top[index] + 3 < height) {
            const four* row = pixels + static_cast<int64_t>(top[index]) * width + left[index];
            for (int line = 0; line < 4; ++line, row += width)
                sum += down.weights[line][index] * (a * row[0] + b * row[1] + c * row[2] + d * row[3]);
        } else {
            int columns[4];
            for (int tap = 0; tap < 4; ++tap) columns[tap] = within(left[index] + tap, width);
            for (int line = 0; line < 4; ++line) {
                const four* row = pixels + static_cast<int64_t>(within(top[index] + line, height)) * width;
                sum += down.weights[line][index] *
                       (a * row[columns[0]] + b * row[columns[1]] + c * row[columns[2]] + d * row[columns[3]]);
            }
        }
        sums[index] += sum;
    }
}

// Channels of finished pixels back into their planes.
inline void put(const four* sums, int count, int channels, float factor, float* planes, int64_t plane) {
    for (int channel = 0; channel < channels; ++channel)
        for (int index = 0; index < count; ++index) planes[channel * plane + index] = factor * sums[index][channel];
}

// Place of pixel `index` in a map that is `step` times smaller: the map's pixel before it, and the share of the next.
inline int coarse_place(int index, int step, int size, float* share) {
    const float place = within((index + 0.5f) / step - 0.5f, size);
    const int before = static_cast<int>(place);
    *share = place - before;
    return before;
}

// Means of blocks of `side` pixels, a constant where that is not 0: the inner loops are then written out.
template <int side>
void shrink_by(const float* plane, int height, int width, float* small, int given = side) {
    const int step = side ? side : given, columns = width / step;
    const float share = 1.0f / (step * step);
    for (int row = 0; row < height / step; ++row) {
        float* target = small + static_cast<int64_t>(row) * columns;
        for (int column = 0; column < columns; ++column) target[column] = 0;
        for (int line = 0; line < step; ++line) {
            const float* source = plane + (static_cast<int64_t>(row) * step + line) * width;
            for (int column = 0; column < columns; ++column) {
                float sum = 0;
                for (int pixel = 0; pixel < step; ++pixel) sum += source[column * step + pixel];
                target[column] += sum;
            }
        }
        for (int column = 0; column < columns; ++column) target[column] *= share;
    }
}

template <int side>
void add_enlarged_by(const float* plane, int height, int width, const float* small, float factor, float* line,
                     float* out, int given = side) {
    const int step = side ? side : given, rows = height / step, columns = width / step, half = step / 2;
    for (int y = 0; y < height; ++y) {
        float lower = 0;
        const int top = coarse_place(y, step, rows, &lower);
        const float* a = small + static_cast<int64_t>(top) * columns;
        const float* b = top + 1 < rows ? a + columns : a;
        for (int column = 0; column < columns; ++column)
            line[column] = factor * (a[column] + lower * (b[column] - a[column]));
        const float* source = plane + static_cast<int64_t>(y) * width;
        float* target = out + static_cast<int64_t>(y) * width;
        for (int x = 0; x < half; ++x) target[x] = source[x] + line[0];
        for (int column = 0; column + 1 < columns; ++column) {
            const float begin = line[column], rise = (line[column + 1] - begin) / step;
            const int64_t place = static_cast<int64_t>(column) * step + half;
            for (int x = 0; x < step; ++x) target[place + x] = source[place + x] + begin + (x + 0.5f) * rise;
        }
        for (int x = width - half; x < width; ++x) target[x] = source[x] + line[columns - 1];
    }
}

}  // namespace

extern "C" {

void side_by_side(const float* __restrict planes, int64_t plane, int64_t row, int64_t pixel, int channels, int height,
                  int width, int step, four* __restrict pixels) {
    const int64_t second = channels > 1 ? plane : 0, third = channels > 2 ? 2 * plane : 0,
                  fourth = channels > 3 ? 3 * plane : 0;
    if (step == 1) {
        for (int y = 0; y < height; ++y) {
            const float* line = planes + y * row;
            four* target = pixels + static_cast<int64_t>(y) * width;
            if (pixel == 1)
                for (int x = 0; x < width; ++x)
                    target[x] = four{line[x], line[second + x], line[third + x], line[fourth + x]};
            else
                for (int x = 0; x < width; ++x, line += pixel)
                    target[x] = four{line[0], line[second], line[third], line[fourth]};
        }
        return;
    }
    const int rows = (height + step - 1) / step, columns = (width + step - 1) / step;
    const float share = 1.0f / (step * step);
    for (int y = 0; y < rows; ++y) {
        four* target = pixels + static_cast<int64_t>(y) * columns;
        for (int x = 0; x < columns; ++x) target[x] = four{0, 0, 0, 0};
        for (int inner = 0; inner < step; ++inner) {
            const float* line = planes + within(y * step + inner, height) * row;
            for (int x = 0; x < columns; ++x) {
                four sum = {0, 0, 0, 0};
                for (int across = x * step; across < (x + 1) * step; ++across) {
                    const float* place = line + within(across, width) * pixel;
                    sum += four{place[0], place[second], place[third], place[fourth]};
                }
                target[x] += sum;
            }
        }
        for (int x = 0; x < columns; ++x) target[x] *= share;
    }
}

void resample(const four* pixels, int height, int width, const double* matrix, int samples, int cubic, int channels,
              float* planes, int rows, int columns) {
    const int64_t plane = static_cast<int64_t>(rows) * columns;
    float xs[chunk], ys[chunk];
    four sums[chunk];
    for (int row = 0; row < rows; ++row) {
        for (int begin = 0; begin < columns; begin += chunk) {
            const int count = begin + chunk < columns ? chunk : columns - begin;
            for (int index = 0; index < count; ++index) sums[index] = four{0, 0, 0, 0};
            for (int sample = 0; sample < samples * samples; ++sample) {
                const double v = row + (sample / samples + 0.5) / samples;
                const double u = begin + (sample % samples + 0.5) / samples;
                const float x = static_cast<float>(matrix[0] * u + matrix[1] * v + matrix[2]);
                const float y = static_cast<float>(matrix[3] * u + matrix[4] * v + matrix[5]);
                const float x_step = static_cast<float>(matrix[0]), y_step = static_cast<float>(matrix[3]);
                for (int index = 0; index < count; ++index) {
                    xs[index] = x + index * x_step;
                    ys[index] = y + index * y_step;
                }
                if (cubic)
                    bicubic(pixels, height, width, xs, ys, count, sums);
                else
                    bilinear(pixels, height, width, xs, ys, count, sums);
            }
            float* target = planes + static_cast<int64_t>(row) * columns + begin;
            put(sums, count, channels, 1.0f / (samples * samples), target, plane);
        }
    }
}

void displace(const four* pixels, int height, int width, const float* shift, int rows, int columns, int step,
              int channels, float* line, float* planes) {
    const int64_t plane = static_cast<int64_t>(height) * width, coarse = static_cast<int64_t>(rows) * columns;
    float places[2][chunk];
    four sums[chunk];
    for (int y = 0; y < height; ++y) {
        float lower = 0;
        const int top = coarse_place(y, step, rows, &lower), below = top + 1 < rows ? columns : 0;
        for (int axis = 0; axis < 2; ++axis) {
            const float* known = shift + axis * coarse + static_cast<int64_t>(top) * columns;
            float* between = line + axis * (columns + 1);
            for (int column = 0; column < columns; ++column)
                between[column] = known[column] + lower * (known[below + column] - known[column]);
            between[columns] = between[columns - 1];
        }
        for (int begin = 0; begin < width; begin += chunk) {
            const int count = begin + chunk < width ? chunk : width - begin;
            for (int index = 0; index < count; ++index) {
                float share = 0;
                const int left = coarse_place(begin + index, step, columns, &share);
                const float *across = line + left, *down = across + columns + 1;
                places[0][index] = across[0] + share * (across[1] - across[0]) + (begin + index);
                places[1][index] = down[0] + share * (down[1] - down[0]) + y;
                sums[index] = four{0, 0, 0, 0};
            }
            bicubic(pixels, height, width, places[0], places[1], count, sums);
            put(sums, count, channels, 1.0f, planes + static_cast<int64_t>(y) * width + begin, plane);
        }
    }
}

void shrink(const float* plane, int height, int width, int step, float* small) {
    if (step == 4)
        shrink_by<4>(plane, height, width, small);
    else if (step == 8)
        shrink_by<8>(plane, height, width, small);
    else
        shrink_by<0>(plane, height, width, small, step);
}

void add_enlarged(const float* plane, int height, int width, const float* small, int step, float factor, float* line,
                  float* out) {
    if (step == 4)
        add_enlarged_by<4>(plane, height, width, small, factor, line, out);
    else if (step == 8)
        add_enlarged_by<8>(plane, height, width, small, factor, line, out);
    else
        add_enlarged_by<0>(plane, height, width, small, factor, line, out, step);
}

void sharpen(const float* __restrict plane, int height, int width, const float* __restrict weights, int reach,
             float share, float* __restrict line, float* __restrict out) {
    for (int y = 0; y < height; ++y) {
        const float* source = plane + static_cast<int64_t>(y) * width;
        float* middle = line + reach;
        for (int x = 0; x < width; ++x) middle[x] = weights[reach] * source[x];
        for (int away = 1; away <= reach; ++away) {
            const float* above = plane + static_cast<int64_t>(within(y - away, height)) * width;
            const float* below = plane + static_cast<int64_t>(within(y + away, height)) * width;
            const float weight = weights[reach + away];
            for (int x = 0; x < width; ++x) middle[x] += weight * (above[x] + below[x]);
        }
        for (int away = 1; away <= reach; ++away) {
            middle[-away] = middle[0];
            middle[width - 1 + away] = middle[width - 1];
        }
        float* target = out + static_cast<int64_t>(y) * width;
        for (int x = 0; x < width; ++x) target[x] = (1 + share) * source[x] - share * weights[reach] * middle[x];
        for (int away = 1; away <= reach; ++away) {
            const float weight = share * weights[reach + away];
            for (int x = 0; x < width; ++x) target[x] -= weight * (middle[x - away] + middle[x + away]);
        }
    }
}

void scatter(const float* places, const float* values, int count, float near_squared, float still, int step, int rows,
             int columns, float* out) {
    const int64_t plane = static_cast<int64_t>(rows) * columns;
    for (int row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) {
            const float x = (column + 0.5f) * step, y = (row + 0.5f) * step;
            float total = 0, right = 0, down = 0;
#pragma omp simd reduction(+ : total, right, down)
            for (int index = 0; index < count; ++index) {
                const float across = x - places[index], along = y - places[count + index];
                const float nearness = 1 / std::sqrt(across * across + along * along + near_squared);
                const float pull = nearness * nearness * nearness;
                total += pull;
                right += pull * values[index];
                down += pull * values[count + index];
            }
            const int64_t place = static_cast<int64_t>(row) * columns + column;
            out[place] = right / (total + still);
            out[plane + place] = down / (total + still);
        }
    }
}

void edge_strength(const float* plane, const uint8_t* inside, int height, int width, int block, double* sums,
                   float* strength, float* whole) {
    const int columns = width / block, rows = height / block;
    const float share = 1.0f / (block * block);
    for (int index = 0; index < rows * columns; ++index) strength[index] = whole[index] = 0;
    double count = 0, total = 0, squares = 0;
    for (int y = 0; y < height; ++y) {
        const float* here = plane + static_cast<int64_t>(y) * width;
        const float* above = y ? here - width : here;
        const float* below = y + 1 < height ? here + width : here;
        const uint8_t* mask = inside + static_cast<int64_t>(y) * width;
        float line_count = 0, line_total = 0, line_squares = 0;
        for (int x = 0; x < width; ++x) {
            const float left = here[x ? x - 1 : 0], right = here[x + 1 < width ? x + 1 : x];
            const float edge = above[x] + below[x] + left + right - 4 * here[x];
            const float counts = mask[x] ? 1.0f : 0.0f;
            line_count += counts;
            line_total += counts * edge;
            line_squares += counts * edge * edge;
            if (y / block < rows && x / block < columns) {
                const int place = y / block * columns + x / block;
                strength[place] += edge * edge * share;
                whole[place] += counts * share;
            }
        }
        count += line_count;
        total += line_total;
        squares += line_squares;
    }
    sums[0] = count;
    sums[1] = total;
    sums[2] = squares;
}

}  // extern "C"

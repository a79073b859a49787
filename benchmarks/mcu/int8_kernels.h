/* Plain int8 kernels: what a careful engineer writes by hand for a microcontroller without vector
   instructions. Activations [row][column][channel], weights [output][row][column][channel], one byte each.
   Windows are cut at the borders once per position, so the inner loop is one dot product of contiguous runs. */
#ifndef INT8_KERNELS_H
#define INT8_KERNELS_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int channels, height, width;
    int outputs, out_height, out_width;
    int kernel_height, kernel_width, stride_y, stride_x, pad_y, pad_x;
    const int8_t *weights;
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    int lo, hi;
} int8_layer;

typedef struct {
    int channels, height, width, out_height, out_width;
    int kernel_height, kernel_width, stride_y, stride_x, pad_y, pad_x;
} int8_pool;

static inline int8_t requantize(int32_t sum, int32_t multiplier, unsigned shift, int lo, int hi)
{
    const int64_t product = (int64_t)sum * multiplier + ((int64_t)1 << (shift - 1));
    const int32_t value = (int32_t)(product >> shift);
    return (int8_t)(value < lo ? lo : value > hi ? hi : value);
}

static inline int32_t dot(const int8_t *a, const int8_t *b, int count, int32_t sum)
{
    for (int i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

__attribute__((unused, noinline)) static void int8_conv(const int8_layer *at, const int8_t *in, int8_t *out)
{
    const int row = at->width * at->channels, tap_row = at->kernel_width * at->channels;
    for (int y = 0; y < at->out_height; y++)
        for (int x = 0; x < at->out_width; x++) {
            const int top = y * at->stride_y - at->pad_y, left = x * at->stride_x - at->pad_x;
            const int y0 = top < 0 ? -top : 0, x0 = left < 0 ? -left : 0;
            const int y1 = at->height - top < at->kernel_height ? at->height - top : at->kernel_height;
            const int x1 = at->width - left < at->kernel_width ? at->width - left : at->kernel_width;
            const int8_t *weights = at->weights + x0 * at->channels;
            for (int o = 0; o < at->outputs; o++) {
                int32_t sum = at->bias[o];
                for (int ky = y0; ky < y1; ky++)
                    sum = dot(in + (top + ky) * row + (left + x0) * at->channels, weights + ky * tap_row,
                        (x1 - x0) * at->channels, sum);
                weights += at->kernel_height * tap_row;
                *out++ = requantize(sum, at->multiplier[o], at->shift[o], at->lo, at->hi);
            }
        }
}

__attribute__((unused, noinline)) static void int8_dense(const int8_layer *at, const int8_t *in, int8_t *out)
{
    for (int o = 0; o < at->outputs; o++)
        out[o] = requantize(dot(in, at->weights + o * at->channels, at->channels, at->bias[o]),
            at->multiplier[o], at->shift[o], at->lo, at->hi);
}

__attribute__((unused, noinline)) static void int8_max_pool(const int8_pool *at, const int8_t *in, int8_t *out)
{
    for (int y = 0; y < at->out_height; y++)
        for (int x = 0; x < at->out_width; x++)
            for (int c = 0; c < at->channels; c++) {
                int8_t most = -128;
                for (int ky = 0; ky < at->kernel_height; ky++)
                    for (int kx = 0; kx < at->kernel_width; kx++) {
                        const int iy = y * at->stride_y - at->pad_y + ky, ix = x * at->stride_x - at->pad_x + kx;
                        if (iy >= 0 && iy < at->height && ix >= 0 && ix < at->width) {
                            const int8_t value = in[(iy * at->width + ix) * at->channels + c];
                            most = value > most ? value : most;
                        }
                    }
                *out++ = most;
            }
}

__attribute__((unused, noinline)) static void int8_mean(int channels, int positions, const int8_t *in, int8_t *out)
{
    for (int c = 0; c < channels; c++) {
        int32_t sum = 0;
        for (int p = 0; p < positions; p++)
            sum += in[p * channels + c];
        out[c] = (int8_t)(sum / positions);
    }
}

__attribute__((unused, noinline)) static void int8_add(int count, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int i = 0; i < count; i++) {
        const int sum = a[i] + b[i];
        out[i] = (int8_t)(sum > 127 ? 127 : sum);
    }
}

__attribute__((unused, noinline)) static uint8_t int8_argmax(int count, const int8_t *in)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        best = in[i] > in[best] ? i : best;
    return (uint8_t)best;
}
#endif

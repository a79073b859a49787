/* Kernels of the C that Gatefold generates. Freestanding C99: no libc, no heap, no recursion.

   A program's NAME.c defines the sizes below for its target and includes this header once.

   GF_UNIT_BITS   8 or 32: the integer that a row of lanes is made of
   GF_LANE_BITS   bits that one operation on lanes treats at once: a vector where the compiler has them
   GF_WORD_BITS   8, 32 or 64: the integer that the channels of one position are packed in
   GF_BLOCK       outputs whose popcounts are taken side by side: 1, or more where the compiler vectorizes them
   GF_INDEX_BITS  4 or 6: bits that are an index into a table of sums, which a shuffle looks up
   GF_ADDS        1 where integers are added, bit by bit of their weights, rather than multiplied

   Three forms of a value of shape (channels, rows, columns), b bits an element:
   integers  [channel][row][column], the smallest integer type
   lanes     [channel][plane][unit]: bit l of a plane is position l = row * columns + column
   words     [position][plane][word]: bit c of a plane is channel c
   Bit i of a sequence is bit i % BITS of its integer i / BITS, whatever the byte order of the machine. */
#ifndef GATEFOLD_KERNELS_H
#define GATEFOLD_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#if GF_UNIT_BITS == 32
typedef uint32_t gf_unit;
#else
typedef uint8_t gf_unit;
#endif

/* Thresholds of counters and of sums; sixteen bits where those of all layers fit. */
#if GF_LIMIT_BITS == 32
typedef uint32_t gf_limit;
#else
typedef uint16_t gf_limit;
#endif
#if GF_SUM_BITS == 32
typedef int32_t gf_sum;
#else
typedef int16_t gf_sum;
#endif

#if GF_WORD_BITS == 64
typedef uint64_t gf_word;
#elif GF_WORD_BITS == 32
typedef uint32_t gf_word;
#else
typedef uint8_t gf_word;
#endif

/* Constants: in the address space of the flash memory where that is not the one of pointers (AVR). */
#if defined(__AVR__) && defined(__clang__)
#error "compile this file with avr-gcc: Clang stores half of the address of a constant in flash (R_AVR_16_PM)"
#elif defined(__AVR__) && defined(__FLASH) && !defined(__STRICT_ANSI__)
#define GF_FLASH const __flash
#if !defined(__OPTIMIZE_SIZE__)
#pragma GCC optimize("no-ivopts") /* with it avr-gcc 5.4 reads some constants from RAM at -O2; at -Os it does not */
#endif
#elif defined(__AVR__)
#error "compile this file as C with -std=gnu99 or later: without __flash all constants would lie in the RAM of an AVR"
#else
#define GF_FLASH const
#endif

/* What the compiler aligns an integer of 2, 4 or 8 bytes to: its size, or less (i386), or nothing (AVR). */
typedef struct {
    char before;
    uint16_t at;
} gf_align2;
typedef struct {
    char before;
    uint32_t at;
} gf_align4;
typedef struct {
    char before;
    uint64_t at;
} gf_align8;
#define GF_ALIGN(bytes) offsetof(gf_align##bytes, at)

/* Tables that vectors load whole: none lies across two lines of the cache. Results do not depend on it. */
#if defined(__GNUC__)
#define GF_LINE __attribute__((aligned(64)))
#else
#define GF_LINE
#endif

/* One copy of a kernel for all layers: what it costs shows as its own symbol, and its frame counts once. */
#if defined(__GNUC__)
#define GF_KERNEL static __attribute__((unused, noinline))
#define GF_INLINE static inline __attribute__((unused, always_inline))
#else
#define GF_KERNEL static inline
#define GF_INLINE static inline
#endif

/* gf_lane: as many units as one operation takes. Vectors of GCC and Clang need no intrinsics. A machine whose
   vectors are narrower than the target's, or a compiler that has none, runs the same program in more steps. */
#if defined(GF_NATIVE_BITS) /* the builder's choice: 0 does without vectors, to compare */
#elif defined(__GNUC__) && defined(__AVX512F__)
#define GF_NATIVE_BITS 512
#elif defined(__GNUC__) && defined(__AVX2__)
#define GF_NATIVE_BITS 256
#elif defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON))
#define GF_NATIVE_BITS 128
#else
#define GF_NATIVE_BITS 0
#endif
#if GF_LANE_BITS < GF_NATIVE_BITS
#define GF_VECTOR_BITS GF_LANE_BITS
#else
#define GF_VECTOR_BITS GF_NATIVE_BITS
#endif
#if GF_VECTOR_BITS >= 128
typedef gf_unit gf_lane __attribute__((vector_size(GF_VECTOR_BITS / 8)));
typedef gf_unit gf_lane_at __attribute__((vector_size(GF_VECTOR_BITS / 8), aligned(GF_UNIT_BITS / 8), may_alias));
#define GF_LANE_UNITS (GF_VECTOR_BITS / GF_UNIT_BITS)
#else
typedef gf_unit gf_lane;
typedef gf_unit gf_lane_at;
#define GF_LANE_UNITS 1
#endif
/* Units of one block of lanes in the layout of constants. */
#define GF_BLOCK_UNITS (GF_LANE_BITS / GF_UNIT_BITS)
#define GF_LOAD(unit) (*(const gf_lane_at *)(unit))
#define GF_LOAD_FLASH(unit) (*(gf_lane_at GF_FLASH *)(unit))
#define GF_STORE(unit, lane) (*(gf_lane_at *)(unit) = (lane))

/* NAME_weights.c defines GF_TYPES_ONLY: constants need the types above, and compilers the time for the rest. */
#ifndef GF_TYPES_ONLY

/* What every kernel does: shifts that round down, popcounts, single bits. */

GF_INLINE int32_t gf_shift_right(int32_t value, unsigned shift)
{
    return value < 0 ? ~(~value >> shift) : value >> shift;
}

GF_INLINE int64_t gf_shift_right_wide(int64_t value, unsigned shift)
{
    return value < 0 ? ~(~value >> shift) : value >> shift;
}

/* Quotient rounded to the nearest integer, halves away from zero. */
GF_INLINE int64_t gf_round_div(int64_t a, int64_t b)
{
    const int64_t half = b / 2;
    return a < 0 ? -((half - a) / b) : (a + half) / b;
}

/* The largest integer whose square is at most `value`. */
GF_KERNEL uint32_t gf_floor_sqrt(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 62; bit; bit >>= 2) {
        if (value >= root + bit) {
            value -= root + bit;
            root = (root >> 1) + bit;
        } else
            root >>= 1;
    }
    return (uint32_t)root;
}

GF_INLINE unsigned gf_popcount(gf_word word)
{
#if defined(__POPCNT__) || defined(__AVX512VPOPCNTDQ__) || defined(__aarch64__)
    return (unsigned)(GF_WORD_BITS == 64 ? __builtin_popcountll(word) : __builtin_popcount((unsigned)word));
#elif GF_WORD_BITS == 64
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((word * 0x0101010101010101u) >> 56);
#elif GF_WORD_BITS == 32
    word -= (word >> 1) & 0x55555555u;
    word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0fu;
    return (unsigned)((word * 0x01010101u) >> 24);
#else
    word = (gf_word)(word - ((word >> 1) & 0x55u));
    word = (gf_word)((word & 0x33u) + ((word >> 2) & 0x33u));
    return (gf_word)(word + (gf_word)(word >> 4)) & 0x0fu;
#endif
}

GF_INLINE unsigned gf_unit_bit(const gf_unit *row, size_t lane)
{
    return (unsigned)(row[lane / GF_UNIT_BITS] >> (lane % GF_UNIT_BITS)) & 1u;
}

GF_INLINE unsigned gf_word_bit(const gf_word *words, size_t bit)
{
    return (unsigned)(words[bit / GF_WORD_BITS] >> (bit % GF_WORD_BITS)) & 1u;
}

/* Bit p of eight codes. */
GF_INLINE uint32_t gf_eight_bits(const uint8_t *codes, unsigned p)
{
#if GF_WORD_BITS == 64
    uint64_t eight = 0;
    for (unsigned i = 0; i < 8; i++)
        eight |= (uint64_t)codes[i] << (8 * i);
    return (uint32_t)((((eight >> p) & 0x0101010101010101u) * 0x0102040810204080u) >> 56);
#else
    uint32_t bits = 0;
    for (unsigned i = 0; i < 8; i++)
        bits |= (uint32_t)((codes[i] >> p) & 1u) << i;
    return bits;
#endif
}

/* Eight bits as bit p of eight codes, which they join. */
GF_INLINE void gf_join_eight(uint8_t *codes, unsigned bits, unsigned p)
{
#if GF_WORD_BITS == 64
    const uint64_t chosen = (bits * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
    const uint64_t ones = ((chosen + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7) & UINT64_C(0x0101010101010101);
    for (unsigned i = 0; i < 8; i++)
        codes[i] = (uint8_t)(codes[i] | (uint8_t)(ones >> (8 * i)) << p);
#else
    for (unsigned i = 0; i < 8; i++)
        codes[i] = (uint8_t)(codes[i] | ((bits >> i) & 1u) << p);
#endif
}

/* From one form to another. `size`: positions; `units`, `words`: of one plane. */

#if defined(__SSE2__) && GF_UNIT_BITS == 8
#include <emmintrin.h>
#if GF_VECTOR_BITS >= 256 && defined(__AVX512BW__)
#include <immintrin.h>
/* Sixty-four codes at a time: a mask register is a bit for each. */
typedef uint64_t gf_mask_at __attribute__((aligned(1), may_alias));
#define GF_PACK_WIDE(in, out, at, size)                                                                    \
    for (; (at) + 64 <= (size); (at) += 64, (out) += 8)                                                    \
        *(gf_mask_at *)(out) = _mm512_test_epi8_mask(_mm512_loadu_si512((const void *)((in) + (at))),       \
                                                     _mm512_set1_epi8((char)(1u << p)));
#define GF_UNPACK_WIDE(in, out, at, size)                                                                  \
    for (; (at) + 64 <= (size); (at) += 64) {                                                              \
        __m512i codes = _mm512_setzero_si512();                                                            \
        for (unsigned p = 0; p < planes; p++)                                                              \
            codes = _mm512_add_epi8(codes, _mm512_maskz_set1_epi8(*(const gf_mask_at *)((in) + p * units + (at) / 8), \
                                                                  (char)(1u << p)));                       \
        _mm512_storeu_si512((void *)((out) + (at)), codes);                                                \
    }
#else
#define GF_PACK_WIDE(in, out, at, size)
#define GF_UNPACK_WIDE(in, out, at, size)
#endif
/* Sixteen codes at a time: bit p is moved to the top of its byte, where one instruction collects it. */
#define GF_PACK_MANY(in, out, at, size)                                                                    \
    GF_PACK_WIDE(in, out, at, size)                                                                        \
    for (; (at) + 16 <= (size); (at) += 16, (out) += 2) {                                                  \
        const __m128i some = _mm_loadu_si128((const __m128i *)(const void *)((in) + (at)));                \
        const int bits = _mm_movemask_epi8(_mm_sll_epi16(some, _mm_cvtsi32_si128(7 - (int)p)));            \
        (out)[0] = (gf_unit)bits;                                                                          \
        (out)[1] = (gf_unit)(bits >> 8);                                                                   \
    }
/* And back: the byte of each lane's bit is spread, and the bit compared. */
#define GF_UNPACK_MANY(in, out, at, size)                                                                  \
    GF_UNPACK_WIDE(in, out, at, size)                                                                      \
    for (; (at) + 16 <= (size); (at) += 16) {                                                              \
        const __m128i places = _mm_set1_epi64x(INT64_C(-0x7fbfdfeff7fbfdff)); /* bits 1, 2, 4, .. 128 */   \
        __m128i codes = _mm_setzero_si128();                                                               \
        for (unsigned p = 0; p < planes; p++) {                                                            \
            const gf_unit *two = (in) + p * units + (at) / 8;                                              \
            __m128i bits = _mm_cvtsi32_si128(two[0] | two[1] << 8);                                        \
            bits = _mm_shufflelo_epi16(_mm_unpacklo_epi8(bits, bits), 0x50);                               \
            bits = _mm_cmpeq_epi8(_mm_and_si128(_mm_shuffle_epi32(bits, 0x50), places), places);           \
            codes = _mm_or_si128(codes, _mm_and_si128(bits, _mm_set1_epi8((char)(1u << p))));              \
        }                                                                                                  \
        _mm_storeu_si128((__m128i *)(void *)((out) + (at)), codes);                                        \
    }
#else
#define GF_PACK_MANY(in, out, at, size)
#define GF_UNPACK_MANY(in, out, at, size)
#endif

GF_KERNEL void gf_lanes_of_bytes(const uint8_t *in, gf_unit *out, unsigned channels, unsigned planes, size_t size)
{
    for (unsigned c = 0; c < channels; c++, in += size)
        for (unsigned p = 0; p < planes; p++) {
            size_t at = 0;
            GF_PACK_MANY(in, out, at, size)
            while (at < size) {
                const size_t end = size - at < GF_UNIT_BITS ? size : at + GF_UNIT_BITS;
                gf_unit unit = 0;
                for (; at + 8 <= end; at += 8)
                    unit = (gf_unit)(unit | (gf_unit)((gf_unit)gf_eight_bits(in + at, p) << (at % GF_UNIT_BITS)));
                for (; at < end; at++)
                    unit = (gf_unit)(unit | (gf_unit)((gf_unit)((in[at] >> p) & 1) << (at % GF_UNIT_BITS)));
                *out++ = unit;
            }
        }
}

GF_KERNEL void gf_words_of_bytes(const uint8_t *in, gf_word *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t words = (channels + GF_WORD_BITS - 1) / GF_WORD_BITS;
    for (size_t i = 0; i < size * planes * words; i++)
        out[i] = 0;
    for (unsigned c = 0; c < channels; c++)
        for (size_t at = 0; at < size; at++, in++)
            for (unsigned p = 0; p < planes; p++)
                out[(at * planes + p) * words + c / GF_WORD_BITS] |=
                    (gf_word)((gf_word)((*in >> p) & 1) << (c % GF_WORD_BITS));
}

GF_KERNEL void gf_bytes_of_lanes(const gf_unit *in, uint8_t *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t units = (size + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    for (unsigned c = 0; c < channels; c++, in += units * planes, out += size) {
        size_t at = 0;
        GF_UNPACK_MANY(in, out, at, size)
        for (; at < size; at += 8) {
            const unsigned some = size - at < 8 ? (unsigned)(size - at) : 8;
            uint8_t codes[8] = {0};
            for (unsigned p = 0; p < planes; p++)
                gf_join_eight(codes, (unsigned)(in[p * units + at / GF_UNIT_BITS] >> (at % GF_UNIT_BITS)) & 255u, p);
            if (some == 8)
                for (unsigned i = 0; i < 8; i++)
                    out[at + i] = codes[i];
            else
                for (unsigned i = 0; i < some; i++)
                    out[at + i] = codes[i];
        }
    }
}

GF_KERNEL void gf_bytes_of_words(const gf_word *in, uint8_t *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t words = (channels + GF_WORD_BITS - 1) / GF_WORD_BITS;
    for (unsigned c = 0; c < channels; c++)
        for (size_t at = 0; at < size; at++) {
            unsigned code = 0;
            for (unsigned p = 0; p < planes; p++)
                code |= gf_word_bit(in + (at * planes + p) * words, c) << p;
            *out++ = (uint8_t)code;
        }
}

#if GF_WORD_BITS == 64 && GF_UNIT_BITS == 8
/* Eight rows of eight bits as columns. */
GF_INLINE uint64_t gf_turned(uint64_t x)
{
    uint64_t differ = (x ^ (x >> 7)) & UINT64_C(0x00aa00aa00aa00aa);
    x ^= differ ^ (differ << 7);
    differ = (x ^ (x >> 14)) & UINT64_C(0x0000cccc0000cccc);
    x ^= differ ^ (differ << 14);
    differ = (x ^ (x >> 28)) & UINT64_C(0x00000000f0f0f0f0);
    return x ^ differ ^ (differ << 28);
}

/* The same of eight words, byte by byte. */
GF_INLINE void gf_turn_bytes(uint64_t *words)
{
    uint64_t mask = UINT64_C(0x00000000ffffffff);
    for (unsigned far = 4; far; far /= 2, mask ^= mask << (8 * far))
        for (unsigned i = 0; i < 4; i++) {
            const unsigned near = i / far * 2 * far + i % far;
            const uint64_t differ = ((words[near] >> (8 * far)) ^ words[near + far]) & mask;
            words[near] ^= differ << (8 * far);
            words[near + far] ^= differ;
        }
}

/* Sixty-four channels of eight positions at a time. */
GF_KERNEL void gf_words_of_lanes(const gf_unit *in, gf_word *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t units = (size + 7) / 8, words = (channels + 63) / 64;
    for (unsigned p = 0; p < planes; p++)
        for (unsigned c = 0; c < channels; c += 64) {
            const unsigned count = channels - c < 64 ? channels - c : 64;
            for (size_t u = 0; u < units; u++) {
                const gf_unit *row = in + ((size_t)c * planes + p) * units + u;
                uint64_t turned[8] = {0};
                for (unsigned i = 0; i < count; i++, row += planes * units)
                    turned[i / 8] |= (uint64_t)*row << (8 * (i % 8));
                for (unsigned i = 0; i < 8; i++)
                    turned[i] = gf_turned(turned[i]);
                gf_turn_bytes(turned);
                for (unsigned i = 0; i < 8 && 8 * u + i < size; i++)
                    out[((8 * u + i) * planes + p) * words + c / 64] = turned[i];
            }
        }
}
#else
GF_KERNEL void gf_words_of_lanes(const gf_unit *in, gf_word *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t units = (size + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    for (size_t at = 0; at < size; at++)
        for (unsigned p = 0; p < planes; p++)
            for (unsigned c = 0; c < channels; c += GF_WORD_BITS) {
                const unsigned count = channels - c < GF_WORD_BITS ? channels - c : GF_WORD_BITS;
                const gf_unit *row = in + ((size_t)c * planes + p) * units;
                gf_word word = 0;
                for (unsigned i = 0; i < count; i++, row += planes * units)
                    word = (gf_word)(word | (gf_word)((gf_word)gf_unit_bit(row, at) << i));
                *out++ = word;
            }
}
#endif

GF_KERNEL void gf_lanes_of_words(const gf_word *in, gf_unit *out, unsigned channels, unsigned planes, size_t size)
{
    const size_t units = (size + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    const size_t words = (channels + GF_WORD_BITS - 1) / GF_WORD_BITS;
    for (unsigned c = 0; c < channels; c++)
        for (unsigned p = 0; p < planes; p++)
            for (size_t u = 0; u < units; u++) {
                gf_unit unit = 0;
                for (size_t at = u * GF_UNIT_BITS; at < size && at < (u + 1) * GF_UNIT_BITS; at++)
                    unit = (gf_unit)(unit
                                     | (gf_unit)((gf_unit)gf_word_bit(in + (at * planes + p) * words, c)
                                                 << (at % GF_UNIT_BITS)));
                *out++ = unit;
            }
}

/* Carry-save counters: plane i of `c` holds bit i of one sum a lane. Rows of weight 1 are added sixteen at a
   time, so that the planes above the fourth see one carry for sixteen rows. Sums are modulo 2 ** bits, and
   `bits` is at least 6. A full adder is five gates, or two of AVX-512, of any function of three bits. */

#if GF_VECTOR_BITS == 512
#include <immintrin.h>
#define GF_TERNARY(table, a, b, c)                                                                         \
    ((gf_lane)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), (table)))
#elif GF_VECTOR_BITS == 256 && defined(__AVX512VL__)
#include <immintrin.h>
#define GF_TERNARY(table, a, b, c)                                                                         \
    ((gf_lane)_mm256_ternarylogic_epi64((__m256i)(a), (__m256i)(b), (__m256i)(c), (table)))
#endif

#ifdef GF_TERNARY
#define GF_ADD3(sum, carry, a, b)                                                                          \
    do {                                                                                                   \
        const gf_lane gf_a = (a), gf_b = (b), gf_sum = (sum);                                              \
        (carry) = GF_TERNARY(0xe8, gf_a, gf_b, gf_sum);                                                    \
        (sum) = GF_TERNARY(0x96, gf_a, gf_b, gf_sum);                                                      \
    } while (0)
#else
#define GF_ADD3(sum, carry, a, b)                                                                          \
    do {                                                                                                   \
        const gf_lane gf_either = (a) ^ (b);                                                               \
        (carry) = ((a) & (b)) | (gf_either & (sum));                                                       \
        (sum) ^= gf_either;                                                                                \
    } while (0)
#endif

#define GF_ADD4(ones, twos, carry, row, i)                                                                 \
    do {                                                                                                   \
        gf_lane gf_low, gf_high;                                                                           \
        GF_ADD3(ones, gf_low, row(i), row((i) + 1));                                                       \
        GF_ADD3(ones, gf_high, row((i) + 2), row((i) + 3));                                                \
        GF_ADD3(twos, carry, gf_low, gf_high);                                                             \
    } while (0)

#define GF_CARRY(c, bits, from, carry)                                                                     \
    for (unsigned gf_bit = (from); gf_bit < (bits); gf_bit++) {                                            \
        const gf_lane gf_old = (c)[gf_bit];                                                                \
        (c)[gf_bit] = gf_old ^ (carry);                                                                    \
        (carry) &= gf_old;                                                                                 \
    }

/* Sixteen rows into the four lowest planes; what goes on is `carry`. */
#define GF_ADD16(carry, row, i)                                                                            \
    do {                                                                                                   \
        gf_lane gf_first, gf_second, gf_left, gf_right;                                                    \
        GF_ADD4(ones, twos, gf_first, row, i);                                                             \
        GF_ADD4(ones, twos, gf_second, row, (i) + 4);                                                      \
        GF_ADD3(fours, gf_left, gf_first, gf_second);                                                      \
        GF_ADD4(ones, twos, gf_first, row, (i) + 8);                                                       \
        GF_ADD4(ones, twos, gf_second, row, (i) + 12);                                                     \
        GF_ADD3(fours, gf_right, gf_first, gf_second);                                                     \
        GF_ADD3(eights, carry, gf_left, gf_right);                                                         \
    } while (0)

/* Eight rows into the three lowest planes. */
#define GF_ADD8(carry, row, i)                                                                             \
    do {                                                                                                   \
        gf_lane gf_left, gf_right;                                                                         \
        GF_ADD4(ones, twos, gf_left, row, i);                                                              \
        GF_ADD4(ones, twos, gf_right, row, (i) + 4);                                                       \
        GF_ADD3(fours, carry, gf_left, gf_right);                                                          \
    } while (0)

#if GF_VECTOR_BITS >= 128
/* Vectors: 32 rows for one carry. */
#define GF_ADD_MANY(row)                                                                                   \
    for (; count >= 32; count -= 32, list += 32) {                                                         \
        gf_lane carry, other, sixteens = c[4];                                                             \
        GF_ADD16(carry, row, 0);                                                                           \
        GF_ADD16(other, row, 16);                                                                          \
        {                                                                                                  \
            gf_lane both;                                                                                  \
            GF_ADD3(sixteens, both, carry, other);                                                         \
            c[4] = sixteens;                                                                               \
            GF_CARRY(c, bits, 5, both)                                                                     \
        }                                                                                                  \
    }
#else
#define GF_ADD_MANY(row)
#endif

/* Adds the rows `base + list[i] * scale`, `count` of them. */
#define GF_DEFINE_ADD_ROWS(NAME, LOAD, ROW_SPACE, LIST_SPACE)                                              \
    GF_INLINE void NAME(gf_lane_at *c, unsigned bits, ROW_SPACE gf_unit *base, size_t scale,               \
                        LIST_SPACE uint16_t *list, size_t count)                                           \
    {                                                                                                      \
        gf_lane ones = c[0], twos = c[1], fours = c[2], eights = c[3];                                     \
        GF_ADD_MANY(GF_ROW_##LOAD)                                                                         \
        for (; count >= 16; count -= 16, list += 16) {                                                     \
            gf_lane carry;                                                                                 \
            GF_ADD16(carry, GF_ROW_##LOAD, 0);                                                             \
            GF_CARRY(c, bits, 4, carry)                                                                    \
        }                                                                                                  \
        c[0] = ones;                                                                                       \
        c[1] = twos;                                                                                       \
        c[2] = fours;                                                                                      \
        c[3] = eights;                                                                                     \
        while (count) {                                                                                    \
            const gf_lane none = {0};                                                                      \
            const gf_lane second = count > 1 ? (gf_lane)GF_ROW_##LOAD(1) : none;                           \
            const gf_lane third = count > 2 ? (gf_lane)GF_ROW_##LOAD(2) : none;                            \
            gf_lane low, high, carry;                                                                      \
            ones = c[0];                                                                                   \
            twos = c[1];                                                                                   \
            GF_ADD3(ones, low, GF_ROW_##LOAD(0), second);                                                  \
            high = ones & third;                                                                           \
            c[0] = ones ^ third;                                                                           \
            GF_ADD3(twos, carry, low, high);                                                               \
            c[1] = twos;                                                                                   \
            GF_CARRY(c, bits, 2, carry)                                                                    \
            if (count <= 3)                                                                                \
                break;                                                                                     \
            count -= 3;                                                                                    \
            list += 3;                                                                                     \
        }                                                                                                  \
    }

#define GF_ROW_RAM(i) GF_LOAD(base + list[i] * scale)
#define GF_ROW_ROM(i) GF_LOAD_FLASH(base + list[i] * scale)
GF_DEFINE_ADD_ROWS(gf_add_columns, ROM, GF_FLASH, const)

#if GF_VECTOR_BITS >= 128
/* From row 8 - n on: ones in the first n rows of eight. */
#define GF_ONES UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX
static const uint64_t gf_first_rows[GF_VECTOR_BITS / 4] = {
    GF_ONES, GF_ONES,
#if GF_VECTOR_BITS >= 256
    GF_ONES, GF_ONES,
#endif
#if GF_VECTOR_BITS >= 512
    GF_ONES, GF_ONES, GF_ONES, GF_ONES,
#endif
};
#define GF_ROW_KEPT(i) (GF_ROW_RAM(i) & GF_LOAD(kept + (i) * GF_LANE_UNITS))

/* Adds the rows `base + list[i] * scale`, `count` of them: no branch on how many are left for the last eight, to
   which the list goes on with entries that are not added. */
GF_INLINE void gf_add_rows(gf_lane_at *c, unsigned bits, const gf_unit *base, size_t scale, const uint16_t *list,
                           size_t count)
{
    gf_lane ones = c[0], twos = c[1], fours = c[2], carry;
    const gf_unit *kept;
    if (count >= 64) {
        gf_lane eights = c[3];
        GF_ADD_MANY(GF_ROW_RAM)
        c[3] = eights;
    }
    for (; count >= 8; count -= 8, list += 8) {
        GF_ADD8(carry, GF_ROW_RAM, 0);
        GF_CARRY(c, bits, 3, carry)
    }
    kept = (const gf_unit *)(const void *)gf_first_rows + (8 - count) * GF_LANE_UNITS;
    GF_ADD8(carry, GF_ROW_KEPT, 0);
    GF_CARRY(c, bits, 3, carry)
    c[0] = ones;
    c[1] = twos;
    c[2] = fours;
}
#define gf_add_listed gf_add_rows
#else
GF_DEFINE_ADD_ROWS(gf_add_rows, RAM, const, const)
GF_DEFINE_ADD_ROWS(gf_add_listed, RAM, const, GF_FLASH)
#endif

GF_INLINE void gf_negate(gf_lane_at *c, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++)
        c[i] = ~c[i];
}

GF_INLINE void gf_double(gf_lane_at *c, unsigned bits)
{
    const gf_lane none = {0};
    for (unsigned i = bits - 1; i; i--)
        c[i] = c[i - 1];
    c[0] = none;
}

#if GF_VECTOR_BITS >= 128
/* Places of the bits that are set in every byte, so that lists grow without a branch on each bit. */
typedef uint16_t gf_eight __attribute__((vector_size(16)));
typedef uint16_t gf_eight_at __attribute__((vector_size(16), aligned(2), may_alias));
static const uint16_t gf_set_bits[256][8] = {
    {0,0,0,0,0,0,0,0}, {0,0,0,0,0,0,0,0}, {1,0,0,0,0,0,0,0}, {0,1,0,0,0,0,0,0}, {2,0,0,0,0,0,0,0},
    {0,2,0,0,0,0,0,0}, {1,2,0,0,0,0,0,0}, {0,1,2,0,0,0,0,0}, {3,0,0,0,0,0,0,0}, {0,3,0,0,0,0,0,0},
    {1,3,0,0,0,0,0,0}, {0,1,3,0,0,0,0,0}, {2,3,0,0,0,0,0,0}, {0,2,3,0,0,0,0,0}, {1,2,3,0,0,0,0,0},
    {0,1,2,3,0,0,0,0}, {4,0,0,0,0,0,0,0}, {0,4,0,0,0,0,0,0}, {1,4,0,0,0,0,0,0}, {0,1,4,0,0,0,0,0},
    {2,4,0,0,0,0,0,0}, {0,2,4,0,0,0,0,0}, {1,2,4,0,0,0,0,0}, {0,1,2,4,0,0,0,0}, {3,4,0,0,0,0,0,0},
    {0,3,4,0,0,0,0,0}, {1,3,4,0,0,0,0,0}, {0,1,3,4,0,0,0,0}, {2,3,4,0,0,0,0,0}, {0,2,3,4,0,0,0,0},
    {1,2,3,4,0,0,0,0}, {0,1,2,3,4,0,0,0}, {5,0,0,0,0,0,0,0}, {0,5,0,0,0,0,0,0}, {1,5,0,0,0,0,0,0},
    {0,1,5,0,0,0,0,0}, {2,5,0,0,0,0,0,0}, {0,2,5,0,0,0,0,0}, {1,2,5,0,0,0,0,0}, {0,1,2,5,0,0,0,0},
    {3,5,0,0,0,0,0,0}, {0,3,5,0,0,0,0,0}, {1,3,5,0,0,0,0,0}, {0,1,3,5,0,0,0,0}, {2,3,5,0,0,0,0,0},
    {0,2,3,5,0,0,0,0}, {1,2,3,5,0,0,0,0}, {0,1,2,3,5,0,0,0}, {4,5,0,0,0,0,0,0}, {0,4,5,0,0,0,0,0},
    {1,4,5,0,0,0,0,0}, {0,1,4,5,0,0,0,0}, {2,4,5,0,0,0,0,0}, {0,2,4,5,0,0,0,0}, {1,2,4,5,0,0,0,0},
    {0,1,2,4,5,0,0,0}, {3,4,5,0,0,0,0,0}, {0,3,4,5,0,0,0,0}, {1,3,4,5,0,0,0,0}, {0,1,3,4,5,0,0,0},
    {2,3,4,5,0,0,0,0}, {0,2,3,4,5,0,0,0}, {1,2,3,4,5,0,0,0}, {0,1,2,3,4,5,0,0}, {6,0,0,0,0,0,0,0},
    {0,6,0,0,0,0,0,0}, {1,6,0,0,0,0,0,0}, {0,1,6,0,0,0,0,0}, {2,6,0,0,0,0,0,0}, {0,2,6,0,0,0,0,0},
    {1,2,6,0,0,0,0,0}, {0,1,2,6,0,0,0,0}, {3,6,0,0,0,0,0,0}, {0,3,6,0,0,0,0,0}, {1,3,6,0,0,0,0,0},
    {0,1,3,6,0,0,0,0}, {2,3,6,0,0,0,0,0}, {0,2,3,6,0,0,0,0}, {1,2,3,6,0,0,0,0}, {0,1,2,3,6,0,0,0},
    {4,6,0,0,0,0,0,0}, {0,4,6,0,0,0,0,0}, {1,4,6,0,0,0,0,0}, {0,1,4,6,0,0,0,0}, {2,4,6,0,0,0,0,0},
    {0,2,4,6,0,0,0,0}, {1,2,4,6,0,0,0,0}, {0,1,2,4,6,0,0,0}, {3,4,6,0,0,0,0,0}, {0,3,4,6,0,0,0,0},
    {1,3,4,6,0,0,0,0}, {0,1,3,4,6,0,0,0}, {2,3,4,6,0,0,0,0}, {0,2,3,4,6,0,0,0}, {1,2,3,4,6,0,0,0},
    {0,1,2,3,4,6,0,0}, {5,6,0,0,0,0,0,0}, {0,5,6,0,0,0,0,0}, {1,5,6,0,0,0,0,0}, {0,1,5,6,0,0,0,0},
    {2,5,6,0,0,0,0,0}, {0,2,5,6,0,0,0,0}, {1,2,5,6,0,0,0,0}, {0,1,2,5,6,0,0,0}, {3,5,6,0,0,0,0,0},
    {0,3,5,6,0,0,0,0}, {1,3,5,6,0,0,0,0}, {0,1,3,5,6,0,0,0}, {2,3,5,6,0,0,0,0}, {0,2,3,5,6,0,0,0},
    {1,2,3,5,6,0,0,0}, {0,1,2,3,5,6,0,0}, {4,5,6,0,0,0,0,0}, {0,4,5,6,0,0,0,0}, {1,4,5,6,0,0,0,0},
    {0,1,4,5,6,0,0,0}, {2,4,5,6,0,0,0,0}, {0,2,4,5,6,0,0,0}, {1,2,4,5,6,0,0,0}, {0,1,2,4,5,6,0,0},
    {3,4,5,6,0,0,0,0}, {0,3,4,5,6,0,0,0}, {1,3,4,5,6,0,0,0}, {0,1,3,4,5,6,0,0}, {2,3,4,5,6,0,0,0},
    {0,2,3,4,5,6,0,0}, {1,2,3,4,5,6,0,0}, {0,1,2,3,4,5,6,0}, {7,0,0,0,0,0,0,0}, {0,7,0,0,0,0,0,0},
    {1,7,0,0,0,0,0,0}, {0,1,7,0,0,0,0,0}, {2,7,0,0,0,0,0,0}, {0,2,7,0,0,0,0,0}, {1,2,7,0,0,0,0,0},
    {0,1,2,7,0,0,0,0}, {3,7,0,0,0,0,0,0}, {0,3,7,0,0,0,0,0}, {1,3,7,0,0,0,0,0}, {0,1,3,7,0,0,0,0},
    {2,3,7,0,0,0,0,0}, {0,2,3,7,0,0,0,0}, {1,2,3,7,0,0,0,0}, {0,1,2,3,7,0,0,0}, {4,7,0,0,0,0,0,0},
    {0,4,7,0,0,0,0,0}, {1,4,7,0,0,0,0,0}, {0,1,4,7,0,0,0,0}, {2,4,7,0,0,0,0,0}, {0,2,4,7,0,0,0,0},
    {1,2,4,7,0,0,0,0}, {0,1,2,4,7,0,0,0}, {3,4,7,0,0,0,0,0}, {0,3,4,7,0,0,0,0}, {1,3,4,7,0,0,0,0},
    {0,1,3,4,7,0,0,0}, {2,3,4,7,0,0,0,0}, {0,2,3,4,7,0,0,0}, {1,2,3,4,7,0,0,0}, {0,1,2,3,4,7,0,0},
    {5,7,0,0,0,0,0,0}, {0,5,7,0,0,0,0,0}, {1,5,7,0,0,0,0,0}, {0,1,5,7,0,0,0,0}, {2,5,7,0,0,0,0,0},
    {0,2,5,7,0,0,0,0}, {1,2,5,7,0,0,0,0}, {0,1,2,5,7,0,0,0}, {3,5,7,0,0,0,0,0}, {0,3,5,7,0,0,0,0},
    {1,3,5,7,0,0,0,0}, {0,1,3,5,7,0,0,0}, {2,3,5,7,0,0,0,0}, {0,2,3,5,7,0,0,0}, {1,2,3,5,7,0,0,0},
    {0,1,2,3,5,7,0,0}, {4,5,7,0,0,0,0,0}, {0,4,5,7,0,0,0,0}, {1,4,5,7,0,0,0,0}, {0,1,4,5,7,0,0,0},
    {2,4,5,7,0,0,0,0}, {0,2,4,5,7,0,0,0}, {1,2,4,5,7,0,0,0}, {0,1,2,4,5,7,0,0}, {3,4,5,7,0,0,0,0},
    {0,3,4,5,7,0,0,0}, {1,3,4,5,7,0,0,0}, {0,1,3,4,5,7,0,0}, {2,3,4,5,7,0,0,0}, {0,2,3,4,5,7,0,0},
    {1,2,3,4,5,7,0,0}, {0,1,2,3,4,5,7,0}, {6,7,0,0,0,0,0,0}, {0,6,7,0,0,0,0,0}, {1,6,7,0,0,0,0,0},
    {0,1,6,7,0,0,0,0}, {2,6,7,0,0,0,0,0}, {0,2,6,7,0,0,0,0}, {1,2,6,7,0,0,0,0}, {0,1,2,6,7,0,0,0},
    {3,6,7,0,0,0,0,0}, {0,3,6,7,0,0,0,0}, {1,3,6,7,0,0,0,0}, {0,1,3,6,7,0,0,0}, {2,3,6,7,0,0,0,0},
    {0,2,3,6,7,0,0,0}, {1,2,3,6,7,0,0,0}, {0,1,2,3,6,7,0,0}, {4,6,7,0,0,0,0,0}, {0,4,6,7,0,0,0,0},
    {1,4,6,7,0,0,0,0}, {0,1,4,6,7,0,0,0}, {2,4,6,7,0,0,0,0}, {0,2,4,6,7,0,0,0}, {1,2,4,6,7,0,0,0},
    {0,1,2,4,6,7,0,0}, {3,4,6,7,0,0,0,0}, {0,3,4,6,7,0,0,0}, {1,3,4,6,7,0,0,0}, {0,1,3,4,6,7,0,0},
    {2,3,4,6,7,0,0,0}, {0,2,3,4,6,7,0,0}, {1,2,3,4,6,7,0,0}, {0,1,2,3,4,6,7,0}, {5,6,7,0,0,0,0,0},
    {0,5,6,7,0,0,0,0}, {1,5,6,7,0,0,0,0}, {0,1,5,6,7,0,0,0}, {2,5,6,7,0,0,0,0}, {0,2,5,6,7,0,0,0},
    {1,2,5,6,7,0,0,0}, {0,1,2,5,6,7,0,0}, {3,5,6,7,0,0,0,0}, {0,3,5,6,7,0,0,0}, {1,3,5,6,7,0,0,0},
    {0,1,3,5,6,7,0,0}, {2,3,5,6,7,0,0,0}, {0,2,3,5,6,7,0,0}, {1,2,3,5,6,7,0,0}, {0,1,2,3,5,6,7,0},
    {4,5,6,7,0,0,0,0}, {0,4,5,6,7,0,0,0}, {1,4,5,6,7,0,0,0}, {0,1,4,5,6,7,0,0}, {2,4,5,6,7,0,0,0},
    {0,2,4,5,6,7,0,0}, {1,2,4,5,6,7,0,0}, {0,1,2,4,5,6,7,0}, {3,4,5,6,7,0,0,0}, {0,3,4,5,6,7,0,0},
    {1,3,4,5,6,7,0,0}, {0,1,3,4,5,6,7,0}, {2,3,4,5,6,7,0,0}, {0,2,3,4,5,6,7,0}, {1,2,3,4,5,6,7,0},
    {0,1,2,3,4,5,6,7},
};
#endif

/* Appends `start + c * step` for each of `channels` bits c that is set; may write 8 entries past the last.
   Returns the end of the list. */
GF_INLINE uint16_t *gf_list(uint16_t *list, uint8_t GF_FLASH *bits, unsigned channels, unsigned start, unsigned step)
{
    for (unsigned c = 0; c < channels; c += 8) {
        unsigned byte = *bits++;
        unsigned at = start + c * step;
#if GF_VECTOR_BITS >= 128
        const gf_eight places = *(const gf_eight_at *)gf_set_bits[byte];
        *(gf_eight_at *)list = places * (uint16_t)step + (uint16_t)at;
        list += gf_popcount(byte);
#elif defined(__ARM_FEATURE_CLZ)
        for (; byte; byte &= byte - 1)
            *list++ = (uint16_t)(at + (unsigned)__builtin_ctz(byte) * step);
#else
        for (; byte; byte >>= 1, at += step)
            if (byte & 1u)
                *list++ = (uint16_t)at;
#endif
    }
    return list;
}

/* Bit-sliced layer: lanes are positions. A table holds, for every distinct move of the image that some kernel
   tap needs, each channel's row moved by that many lanes, without what would come from beyond the left or right
   border; a weight that is not 0 adds one row of the table to the counters of its output. */

typedef struct {
    gf_unit GF_FLASH *mask; /* lanes of the image that this move reads, or NULL for all */
    int16_t first;          /* unit of the image at the start of the row, for the first tile */
    uint8_t shift;          /* lanes by which the image is moved within a unit */
    uint8_t phase;          /* where a stride splits the image: which part this move reads */
} gf_move;

typedef struct {
    uint16_t channels, planes, taps, outputs, magnitudes;
    uint16_t bits;       /* of a sum */
    uint16_t moves, row; /* of the table; units of one of its rows */
    uint16_t tile, step; /* units of one tile, and from tile to tile */
    uint16_t units;      /* of a plane of the image */
    uint16_t positions;  /* of the result */
    uint16_t levels, codes; /* thresholds of an output; planes of its codes */
    uint16_t columns, pool; /* of the result; rows of a tile that 2x2 pooling takes in pairs, or 0 for none */
    gf_move GF_FLASH *move;
    uint16_t GF_FLASH *tap;      /* where the table has each tap's first row */
    uint8_t GF_FLASH *weights;   /* [output][magnitude][+, -][tap][channel bits], or NULL for lists */
    uint16_t GF_FLASH *counts;   /* [output][magnitude][+, -]: lengths of the lists that follow each other */
    uint16_t GF_FLASH *lists;    /* rows of the table */
    gf_limit GF_FLASH *limits;   /* [output][level] sums to be reached, less the least sum of `bits` bits */
    uint8_t GF_FLASH *falling;   /* [output]: 1 where a limit is one that must not be reached */
} gf_lanes_layer;

/* Eight units, or one, as one integer. */
#if GF_UNIT_BITS == 8
#define GF_CHUNK 8u
typedef uint64_t gf_chunk;
#else
#define GF_CHUNK 1u
typedef gf_unit gf_chunk;
#endif
#define GF_DEFINE_CHUNK(NAME, SPACE)                                                                       \
    GF_INLINE gf_chunk NAME(SPACE gf_unit *units)                                                          \
    {                                                                                                      \
        gf_chunk chunk = 0;                                                                                \
        for (unsigned i = 0; i < GF_CHUNK; i++)                                                            \
            chunk |= (gf_chunk)units[i] << (i * GF_UNIT_BITS % (8 * sizeof chunk));                        \
        return chunk;                                                                                      \
    }
GF_DEFINE_CHUNK(gf_chunk_of, const)
GF_DEFINE_CHUNK(gf_chunk_of_flash, GF_FLASH)

/* Unit `u` of an image row moved down by `shift` lanes; 0 outside. */
GF_INLINE gf_unit gf_moved_unit(const gf_unit *source, gf_unit GF_FLASH *mask, long u, long units, unsigned shift)
{
    gf_unit low = 0, high = 0;
    if (u >= 0 && u < units)
        low = mask ? (gf_unit)(source[u] & mask[u]) : source[u];
    if (shift && u + 1 >= 0 && u + 1 < units)
        high = mask ? (gf_unit)(source[u + 1] & mask[u + 1]) : source[u + 1];
    return shift ? (gf_unit)((gf_unit)(low >> shift) | (gf_unit)(high << (GF_UNIT_BITS - shift))) : low;
}

/* A row of the image, from unit `first` on, moved down by `shift` lanes. */
GF_INLINE void gf_move_row(const gf_unit *source, gf_unit GF_FLASH *mask, long first, long units, unsigned shift,
                           gf_unit *out, unsigned row)
{
    unsigned u = 0;
    for (; u < row && first + (long)u < 0; u++)
        out[u] = gf_moved_unit(source, mask, first + (long)u, units, shift);
    /* whole chunks, with the unit behind each inside the image */
    for (; u + GF_CHUNK <= row && first + (long)(u + GF_CHUNK) < units; u += GF_CHUNK) {
        const gf_unit *at = source + (first + (long)u);
        gf_unit GF_FLASH *kept = mask ? mask + (first + (long)u) : mask;
        gf_chunk chunk = kept ? gf_chunk_of(at) & gf_chunk_of_flash(kept) : gf_chunk_of(at);
        if (shift) {
            const gf_unit next = kept ? (gf_unit)(at[GF_CHUNK] & kept[GF_CHUNK]) : at[GF_CHUNK];
            chunk = (gf_chunk)(chunk >> shift | (gf_chunk)next << (8 * sizeof chunk - shift));
        }
        for (unsigned i = 0; i < GF_CHUNK; i++)
            out[u + i] = (gf_unit)(chunk >> (i * GF_UNIT_BITS % (8 * sizeof chunk)));
    }
    for (; u < row; u++)
        out[u] = gf_moved_unit(source, mask, first + (long)u, units, shift);
}

/* Vectors of 64-bit integers, each shifted with what follows it eight units on: bytes in rising order only. */
#if GF_VECTOR_BITS >= 128 && GF_UNIT_BITS == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define GF_MOVES_WIDE 1
#define GF_WIDE (GF_VECTOR_BITS / 8u)
typedef uint64_t gf_wide __attribute__((vector_size(GF_VECTOR_BITS / 8)));
typedef uint64_t gf_wide_at __attribute__((vector_size(GF_VECTOR_BITS / 8), aligned(1), may_alias));
#define GF_WIDE_AT(units) (*(const gf_wide_at *)(units))

/* One vector of a row of the table for `count` channels, `stride` units of the image apart: what is kept of the
   image lies alike for all of them. `first`: unit of a channel that it starts from. May read other channels. */
GF_INLINE void gf_move_column(const gf_unit *source, size_t stride, gf_unit GF_FLASH *mask, long first, long units,
                              unsigned shift, gf_unit *out, unsigned row, unsigned count)
{
    gf_unit kept[GF_WIDE + 8];
    gf_wide low, high;
    for (unsigned i = 0; i < GF_WIDE + 8; i++) {
        const long u = first + (long)i;
        kept[i] = u < 0 || u >= units ? 0 : mask ? mask[u] : 255;
    }
    low = GF_WIDE_AT(kept);
    high = GF_WIDE_AT(kept + 8);
    source += first;
    if (shift)
        for (; count--; source += stride, out += row)
            *(gf_wide_at *)out = (GF_WIDE_AT(source) & low) >> shift | (GF_WIDE_AT(source + 8) & high) << (64 - shift);
    else
        for (; count--; source += stride, out += row)
            *(gf_wide_at *)out = GF_WIDE_AT(source) & low;
}
#else
#define GF_MOVES_WIDE 0
#endif

/* Rows of one move of one plane, for all channels; the last vector of a row may overlap the one before. */
GF_INLINE void gf_move_plane(gf_lanes_layer GF_FLASH *layer, const gf_unit *in, gf_unit GF_FLASH *mask, long first,
                             unsigned shift, gf_unit *table)
{
    const unsigned row = layer->row, units = layer->units, channels = layer->channels;
    const size_t stride = (size_t)layer->planes * units;
    unsigned c = 0;
#if GF_MOVES_WIDE
    /* channels whose row starts and ends inside the image's memory */
    unsigned start = 0, end = channels;
    while (start < end && (long)(start * stride) + first < 0)
        start++;
    while (end > start && (channels - end) * stride + units < (size_t)(first + (long)row + 8))
        end--;
    for (; c < start; c++)
        gf_move_row(in + c * stride, mask, first, units, shift, table + (size_t)c * row, row);
    if (c < end) {
        for (unsigned u = 0; u < row; u += GF_WIDE) {
            const unsigned at = u + GF_WIDE <= row ? u : row - GF_WIDE;
            gf_move_column(in + c * stride, stride, mask, first + (long)at, units, shift,
                           table + (size_t)c * row + at, row, end - c);
        }
        c = end;
    }
#endif
    for (; c < channels; c++)
        if (mask)
            gf_move_row(in + c * stride, mask, first, units, shift, table + (size_t)c * row, row);
        else
            gf_move_row(in + c * stride, NULL, first, units, shift, table + (size_t)c * row, row);
}

GF_KERNEL void gf_lanes_table(gf_lanes_layer GF_FLASH *layer, const gf_unit *in, gf_unit *table, unsigned tile)
{
    const size_t rows = (size_t)layer->channels * layer->row;
    const size_t phase_units = (size_t)layer->channels * layer->planes * layer->units;
    for (unsigned p = 0; p < layer->planes; p++) {
        for (unsigned m = 0; m < layer->moves; m++, table += rows) {
            gf_unit GF_FLASH *mask = layer->move[m].mask;
            const unsigned shift = layer->move[m].shift;
            const long first = (long)layer->move[m].first + (long)tile * layer->step;
            const gf_unit *image = in + (size_t)layer->move[m].phase * phase_units + (size_t)p * layer->units;
            gf_move_plane(layer, image, mask, first, shift, table);
        }
    }
}

/* Magnitude bits of a weight: levels go up to 127. Bits of a sum. */
#define GF_MAX_MAGNITUDES 6
#define GF_MAX_BITS 30

/* Counters of one gf_lane: vectors have an array of their own, which compilers keep in registers. */
#if GF_VECTOR_BITS >= 128
#define GF_COUNTERS(scratch)                                                                               \
    gf_lane_at counters[GF_MAX_BITS];                                                                      \
    (void)(scratch)
#else
#define GF_COUNTERS(scratch) gf_lane_at *const counters = (scratch)
#endif

/* Where each list of one output's rows starts, in the order [magnitude][+, -], and where the last ends. Lists that
   are not stored are made of the weights, in `list`. */
GF_INLINE void gf_lanes_lists(gf_lanes_layer GF_FLASH *layer, unsigned output, uint16_t *list, uint16_t *starts)
{
    const unsigned lists = 2u * layer->magnitudes, channels = layer->channels;
    starts[0] = 0;
    if (layer->weights) {
        const size_t bytes = (channels + 7u) / 8u;
        uint8_t GF_FLASH *weights = layer->weights + (size_t)output * lists * layer->taps * bytes;
        uint16_t *end = list;
        for (unsigned k = 0; k < lists; k++) {
            for (unsigned t = 0; t < layer->taps; t++, weights += bytes)
                end = gf_list(end, weights, channels, layer->tap[t], layer->row);
            starts[k + 1] = (uint16_t)(end - list);
        }
#if GF_VECTOR_BITS >= 128
        *(gf_eight_at *)end = (gf_eight){0};
#endif
    } else
        for (unsigned k = 0; k < lists; k++)
            starts[k + 1] = (uint16_t)(starts[k] + layer->counts[(size_t)output * lists + k]);
}

/* Sums of one output over one gf_lane, which `table` starts at: `bits` planes. `listed`: the output's own lists,
   where they are stored, else they are in `list`. */
GF_INLINE void gf_lanes_block(gf_lanes_layer GF_FLASH *layer, const gf_unit *table, const uint16_t *starts,
                              const uint16_t *list, uint16_t GF_FLASH *listed, gf_lane_at *counters)
{
    const unsigned bits = layer->bits, planes = layer->planes, magnitudes = layer->magnitudes;
    const size_t plane_units = (size_t)layer->moves * layer->channels * layer->row;
    const gf_lane none = {0};
    /* -1: what is added to it and inverted is subtracted from 0 */
    for (unsigned i = 0; i < bits; i++)
        counters[i] = ~none;
    for (unsigned weight = planes + magnitudes - 1; weight--;) {
        if (weight != planes + magnitudes - 2) {
            gf_double(counters, bits);
            gf_negate(counters, bits);
        }
        for (unsigned sign = 2; sign--;) {
            for (unsigned m = 0; m < magnitudes; m++) {
                const unsigned first = starts[2 * m + sign], count = starts[2 * m + sign + 1] - first;
                if (weight < m || weight - m >= planes)
                    continue;
                if (layer->weights)
                    gf_add_rows(counters, bits, table + (weight - m) * plane_units, 1, list + first, count);
                else
                    gf_add_listed(counters, bits, table + (weight - m) * plane_units, 1, listed + first, count);
            }
            if (sign)
                gf_negate(counters, bits);
        }
    }
}

/* Ones where the counters, as signed numbers, are at least `limit - 2 ** (bits - 1)`. */
GF_INLINE gf_lane gf_reached(const gf_lane_at *c, unsigned bits, uint32_t limit)
{
    const gf_lane none = {0};
    gf_lane reached = ~none;
    if (limit >> bits) /* beyond every sum */
        return none;
#if GF_VECTOR_BITS >= 128
    for (unsigned i = 0; i < bits; i++) {
        const gf_lane bit = i + 1 < bits ? (gf_lane)c[i] : (gf_lane)~c[i];
        /* no branch: limits differ from output to output */
        const gf_lane zero = none + (gf_unit)(((limit >> i) & 1u) - 1u);
        reached = (bit & (reached | zero)) | (reached & zero);
    }
    return reached;
#else
    for (; bits > 1; bits--, limit >>= 1, c++)
        reached = limit & 1u ? (gf_lane)(*c & reached) : (gf_lane)(*c | reached);
    return limit & 1u ? (gf_lane)(~*c & reached) : (gf_lane)(~*c | reached);
#endif
}

/* Adds level `k`, counted from 0, to codes: bit j of a count of ordered levels is the parity of every 2 ** j-th. */
GF_INLINE void gf_count_level(gf_lane *codes, unsigned planes, unsigned k, gf_lane reached)
{
    for (unsigned j = 0; j < planes && ((k + 1u) & ((1u << j) - 1u)) == 0; j++)
        codes[j] ^= reached;
}

GF_INLINE void gf_lanes_codes(gf_lanes_layer GF_FLASH *layer, unsigned output, const gf_lane_at *counters,
                              gf_lane *codes)
{
    const gf_lane none = {0};
    for (unsigned j = 0; j < GF_MAX_CODES; j++)
        codes[j] = none;
    for (unsigned k = 0; k < layer->levels; k++) {
        const uint32_t limit = layer->limits[(size_t)output * layer->levels + k];
        const gf_lane reached = gf_reached(counters, layer->bits, limit);
        gf_count_level(codes, layer->codes, k, reached ^ (gf_lane)(none - layer->falling[output]));
    }
}

/* Writes the first `count` units of a block; bits from `last` on in the last of them become 0 unless it is 0. */
GF_INLINE void gf_store_units(gf_unit *out, gf_lane lane, unsigned count, unsigned last)
{
    gf_unit units[GF_LANE_UNITS];
#if GF_VECTOR_BITS >= 128
    if (count == GF_LANE_UNITS && !last) {
        GF_STORE(out, lane);
        return;
    }
#endif
    GF_STORE(units, lane);
    for (unsigned u = 0; u < count; u++)
        out[u] = units[u];
    if (last)
        out[count - 1] &= (gf_unit)(((gf_unit)1 << last) - 1);
}

GF_INLINE size_t gf_listed_entries(gf_lanes_layer GF_FLASH *layer, unsigned output)
{
    uint16_t GF_FLASH *counts = layer->counts + (size_t)output * layer->magnitudes * 2;
    size_t entries = 0;
    for (unsigned i = 0; i < 2u * layer->magnitudes; i++)
        entries += counts[i];
    return entries;
}

/* Sums of one output over one tile as integers, `count` of them. `list`, `scratch`: for it. */
GF_KERNEL void gf_lanes_integers(gf_lanes_layer GF_FLASH *layer, unsigned output, const gf_unit *table, uint16_t *list,
                                 uint16_t GF_FLASH *listed, gf_lane_at *scratch, int32_t *sums, unsigned count)
{
    const unsigned bits = layer->bits, size = GF_LANE_UNITS * GF_UNIT_BITS;
    uint16_t starts[2 * GF_MAX_MAGNITUDES + 1];
    GF_COUNTERS(scratch);
    gf_lanes_lists(layer, output, list, starts);
    for (unsigned first = 0; first < count; first += size, table += GF_LANE_UNITS) {
        const unsigned lanes = count - first < size ? count - first : size;
        gf_lanes_block(layer, table, starts, list, listed, counters);
        for (unsigned l = 0; l < lanes; l++)
            sums[first + l] = 0;
        for (unsigned i = 0; i < bits; i++) {
            gf_unit units[GF_LANE_UNITS];
            const int32_t weight = i + 1 < bits ? (int32_t)1 << i : -(int32_t)((uint32_t)1 << i);
            GF_STORE(units, counters[i]);
            for (unsigned l = 0; l < lanes; l++)
                sums[first + l] += (int32_t)((units[l / GF_UNIT_BITS] >> (l % GF_UNIT_BITS)) & 1u) * weight;
        }
    }
}

/* `count` lanes of a row from `lane` on: 1 to 16, or to 32 where units are as long. */
GF_INLINE uint32_t gf_some_lanes(const gf_unit *row, size_t lane, unsigned count)
{
    const gf_unit *at = row + lane / GF_UNIT_BITS;
    const unsigned shift = lane % GF_UNIT_BITS;
    uint32_t bits = 0;
    for (unsigned got = 0; got < shift + count; got += GF_UNIT_BITS)
        bits |= got < 32 ? (uint32_t)*at++ << got : 0;
#if GF_UNIT_BITS == 32
    bits >>= shift;
    if (shift + count > 32)
        bits |= row[lane / 32 + 1] << (32 - shift);
#else
    bits >>= shift;
#endif
    return bits & (UINT32_MAX >> (32 - count));
}

GF_INLINE void gf_put_lanes(gf_unit *row, size_t lane, unsigned count, uint32_t bits)
{
    while (count) {
        const unsigned shift = lane % GF_UNIT_BITS;
        const unsigned room = GF_UNIT_BITS - shift < count ? GF_UNIT_BITS - shift : count;
        gf_unit *at = row + lane / GF_UNIT_BITS;
        if (!shift)
            *at = 0;
        *at = (gf_unit)(*at | (gf_unit)((bits & (((uint32_t)1 << room) - 1)) << shift));
        bits >>= room;
        lane += room;
        count -= room;
    }
}

/* The same of up to 32 lanes: whole units as they are. */
GF_INLINE void gf_put_run(gf_unit *row, size_t lane, unsigned count, uint32_t bits)
{
    gf_unit *at = row + lane / GF_UNIT_BITS;
    if (lane % GF_UNIT_BITS || count < 32)
        gf_put_lanes(row, lane, count, bits);
    else
        for (unsigned i = 0; i < 32 / GF_UNIT_BITS; i++)
            at[i] = (gf_unit)(bits >> (i * GF_UNIT_BITS));
}

/* Bits 0, 2, .. 30 as bits 0 to 15. */
GF_INLINE uint32_t gf_even_bits(uint32_t bits)
{
    bits &= 0x55555555u;
    bits = (bits | bits >> 1) & 0x33333333u;
    bits = (bits | bits >> 2) & 0x0f0f0f0fu;
    bits = (bits | bits >> 4) & 0x00ff00ffu;
    return (bits | bits >> 8) & 0x0000ffffu;
}

/* Codes of some positions, from `lane` on, into the planes of one channel. */
GF_KERNEL void gf_lanes_row(const uint8_t *codes, gf_unit *out, unsigned planes, size_t units, size_t lane,
                            unsigned count)
{
    for (unsigned p = 0; p < planes; p++, out += units) {
        unsigned x = 0;
        if (lane % GF_UNIT_BITS == 0) {
            gf_unit *at = out + lane / GF_UNIT_BITS;
            GF_PACK_MANY(codes, at, x, count)
            (void)at;
        }
        for (; x + 8 <= count; x += 8)
            gf_put_lanes(out, lane + x, 8, gf_eight_bits(codes + x, p));
        for (; x < count; x++)
            gf_put_lanes(out, lane + x, 1, (uint32_t)(codes[x] >> p) & 1u);
    }
}

/* The larger of two codes in planes of 32-bit chunks, into `a`. */
GF_INLINE void gf_max_bits(uint32_t *a, const uint32_t *b, unsigned planes)
{
    uint32_t larger = 0;
    for (unsigned p = 0; p < planes; p++)
        larger = (b[p] & ~a[p]) | (larger & ~(a[p] ^ b[p]));
    for (unsigned p = 0; p < planes; p++)
        a[p] = (b[p] & larger) | (a[p] & ~larger);
}

/* The largest of each 2x2 window of one channel, to `lane` of the result and on. */
GF_INLINE void gf_pool_rows(const gf_unit *in, size_t units, gf_unit *out, size_t out_units, size_t lane,
                            unsigned planes, unsigned rows, unsigned columns)
{
    const unsigned wide = columns / 2, high = rows / 2;
    for (unsigned y = 0; y < high; y++)
        for (unsigned x = 0; x < wide; x += 8) {
            const unsigned count = wide - x < 8 ? wide - x : 8;
            uint32_t best[8];
            for (unsigned p = 0; p < planes; p++)
                best[p] = 0;
            for (unsigned r = 0; r < 4; r++) {
                uint32_t other[8];
                const size_t from = (size_t)(2 * y + r / 2) * columns + 2u * x;
                for (unsigned p = 0; p < planes; p++)
                    other[p] = gf_some_lanes(in + p * units, from, 2 * count) >> (r % 2);
                gf_max_bits(best, other, planes);
            }
            for (unsigned p = 0; p < planes; p++)
                gf_put_lanes(out + p * out_units, lane + (size_t)y * wide + x, count, gf_even_bits(best[p]));
        }
}

/* Pooling of lanes: the largest of each 2x2 window, none of which overlap. */
GF_KERNEL void gf_lanes_pool(const gf_unit *in, gf_unit *out, unsigned channels, unsigned planes, unsigned rows,
                             unsigned columns)
{
    const size_t units = ((size_t)rows * columns + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    const size_t out_units = ((size_t)(columns / 2) * (rows / 2) + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    for (unsigned c = 0; c < channels; c++, in += planes * units, out += planes * out_units)
        gf_pool_rows(in, units, out, out_units, 0, planes, rows, columns);
}

/* Every `down`-th row from `first` on, and of it every `right`-th column, 1 or 2, from `skip` on. */
GF_INLINE void gf_split_plane(const gf_unit *in, gf_unit *out, unsigned rows, unsigned columns, unsigned down,
                              unsigned right, unsigned first, unsigned skip)
{
    const unsigned wide = (columns + right - 1) / right, most = GF_UNIT_BITS == 32 ? 16 : 8;
    size_t lane = 0;
    for (unsigned y = first; y < rows; y += down)
        for (unsigned x = 0; x < wide; x += most) {
            const unsigned count = wide - x < most ? wide - x : most, left = columns - right * x;
            const unsigned read = right * count < left ? right * count : left;
            uint32_t bits = gf_some_lanes(in, (size_t)y * columns + right * x, read);
            if (right == 2)
                bits = gf_even_bits(bits >> skip);
            gf_put_lanes(out, lane, count, bits);
            lane += count;
        }
}

/* What the windows of a stride read: phase after phase those that are `used`, each an image whose missing last rows and
   columns are 0. `planes`: of all channels. */
GF_KERNEL void gf_lanes_split(const gf_unit *in, gf_unit *out, unsigned planes, unsigned rows, unsigned columns,
                              unsigned down, unsigned right, unsigned used)
{
    const size_t units = ((size_t)rows * columns + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    const size_t size = (size_t)((rows + down - 1) / down) * ((columns + right - 1) / right);
    const size_t out_units = (size + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    for (unsigned first = 0; first < down; first++)
        for (unsigned skip = 0; skip < right; skip++, used >>= 1)
            for (unsigned p = 0; used & 1u && p < planes; p++, out += out_units) {
                for (size_t u = 0; u < out_units; u++)
                    out[u] = 0;
                gf_split_plane(in + p * units, out, rows, columns, down, right, first, skip);
            }
}

/* A layer with thresholds: from lanes to lanes. `table`, `list`, `scratch`, `pooled`: for it. */
GF_KERNEL void gf_lanes_run(gf_lanes_layer GF_FLASH *layer, const gf_unit *in, gf_unit *out, gf_unit *table,
                            uint16_t *list, gf_lane_at *scratch, gf_unit *pooled)
{
    const unsigned units = (layer->positions + GF_UNIT_BITS - 1u) / GF_UNIT_BITS, columns = layer->columns;
    const unsigned rows = layer->positions / columns, planes = layer->codes, blocks = layer->tile / GF_LANE_UNITS;
    const unsigned smaller = ((columns / 2) * (rows / 2) + GF_UNIT_BITS - 1u) / GF_UNIT_BITS;
    for (unsigned tile = 0; tile * layer->step < units; tile++) {
        const unsigned start = tile * layer->step;
        const unsigned row = tile * layer->pool, left = rows - row;
        /* a pooled tile goes through scratch, with rows as long as a tile */
        gf_unit *const target = layer->pool ? pooled : out + start;
        const unsigned long_row = layer->pool ? layer->tile : units;
        uint16_t GF_FLASH *listed = layer->lists;
        gf_lanes_table(layer, in, table, tile);
        for (unsigned o = 0; o < layer->outputs; o++) {
            gf_unit *const channel = layer->pool ? target : target + (size_t)o * planes * units;
            uint16_t starts[2 * GF_MAX_MAGNITUDES + 1];
            gf_lanes_lists(layer, o, list, starts);
            for (unsigned block = 0; block < blocks; block++) {
                const unsigned first = block * GF_LANE_UNITS;
                gf_lane codes[GF_MAX_CODES];
                unsigned count = GF_LANE_UNITS, last = 0;
                GF_COUNTERS(scratch);
                if (start + first >= units)
                    break;
                if (units - start - first <= count) {
                    count = units - start - first;
                    last = layer->positions % GF_UNIT_BITS;
                }
                gf_lanes_block(layer, table + first, starts, list, listed, counters);
                gf_lanes_codes(layer, o, counters, codes);
                for (unsigned j = 0; j < planes; j++)
                    gf_store_units(channel + (size_t)j * long_row + first, codes[j], count, last);
            }
            if (!layer->weights)
                listed += starts[2 * layer->magnitudes];
            if (layer->pool)
                gf_pool_rows(channel, long_row, out + (size_t)o * planes * smaller, smaller,
                             (size_t)(row / 2) * (columns / 2), planes, left < layer->pool ? left : layer->pool, columns);
        }
    }
}

/* Sum of a channel's codes over all positions. */
GF_KERNEL void gf_lanes_total(const gf_unit *in, int32_t *sums, unsigned channels, unsigned planes, size_t units)
{
    for (unsigned c = 0; c < channels; c++) {
        uint32_t sum = 0;
        for (unsigned p = 0; p < planes; p++, in += units)
            for (size_t u = 0; u < units; u++) {
#if GF_UNIT_BITS <= GF_WORD_BITS
                sum += (uint32_t)gf_popcount((gf_word)in[u]) << p;
#else
                for (gf_unit unit = in[u]; unit; unit &= (gf_unit)(unit - 1u))
                    sum += (uint32_t)1 << p;
#endif
            }
        sums[c] = (int32_t)sum;
    }
}

/* Looked-up layer: lanes are bytes, one a position. The bits of one or several channels at a position are an index of
   GF_INDEX_BITS bits into a table of sums, one for each combination of their weights; a shuffle looks up a vector of
   them. Tables start at their least sum, so that what adds up in bytes is never negative. */

typedef struct {
    uint16_t outputs, taps;
    uint16_t groups, chunk;      /* of channels that share an index; those of one table of rows */
    uint16_t run;                /* groups whose sums fit a byte */
    uint16_t members;            /* planes of one group */
    uint16_t total;              /* planes of all channels */
    uint16_t rows, columns;      /* of the image and the result */
    uint16_t tile;               /* rows of the result that are computed together */
    uint16_t moves, row;         /* of the table; bytes of one of its rows */
    int16_t above;               /* row of the image in front of a tile that the table starts at */
    uint16_t out_rows;
    uint16_t levels, codes, pool;
    int16_t GF_FLASH *across;    /* [move]: columns that it reads to the right */
    uint16_t GF_FLASH *tap;      /* [tap]: where the table has its first row */
    uint8_t GF_FLASH *weights;   /* [chunk][block][tap][group][output of the block]: places of tables */
    uint8_t GF_FLASH *tables;    /* [combination of weights][index] */
    int16_t GF_FLASH *limits;    /* [output][level] sums to be reached */
    uint8_t GF_FLASH *falling;   /* [output]: 1 where a limit is one that must not be reached */
} gf_nibbles_layer;

/* Outputs of a block, side by side, and bytes by which places of tables count. */
#if GF_INDEX_BITS == 6
#define GF_NIBBLE_OUTPUTS 8
#define GF_EACH_OUTPUT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define GF_NIBBLE_PLACE 64u
#else
#define GF_NIBBLE_OUTPUTS 4
#define GF_EACH_OUTPUT(DO) DO(0) DO(1) DO(2) DO(3)
#define GF_NIBBLE_PLACE 8u
#endif

/* GF_OCTETS: bytes that are looked up at once. Compilers would load an index again for every output, were its unused
   bits not cleared: instructions that leave them be have no such operand. */
#if GF_INDEX_BITS == 6
#if GF_VECTOR_BITS >= 256 && defined(__AVX512VBMI__)
#include <immintrin.h>
#define GF_OCTETS 64
#define GF_INDEX(at) (*(const gf_octets_at *)(at))
#define GF_LOOK_UP(table, index) ((gf_octets)_mm512_permutexvar_epi8((__m512i)(index), (__m512i)(table)))
#define GF_TABLE(at) (*(const gf_octets_at *)(at))
#endif
#elif GF_VECTOR_BITS == 256 && defined(__AVX2__)
#include <immintrin.h>
#define GF_OCTETS 32
#define GF_INDEX(at) (*(const gf_octets_at *)(at) & 15)
#define GF_LOOK_UP(table, index) ((gf_octets)_mm256_shuffle_epi8((__m256i)(table), (__m256i)(index)))
#define GF_TABLE(at) ((gf_octets)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(at))))
#elif GF_VECTOR_BITS >= 128 && defined(__SSSE3__)
#include <tmmintrin.h>
#define GF_OCTETS 16
#define GF_INDEX(at) (*(const gf_octets_at *)(at) & 15)
#define GF_LOOK_UP(table, index) ((gf_octets)_mm_shuffle_epi8((__m128i)(table), (__m128i)(index)))
#define GF_TABLE(at) ((gf_octets)_mm_loadu_si128((const __m128i *)(const void *)(at)))
#endif

#ifdef GF_OCTETS
typedef uint8_t gf_octets __attribute__((vector_size(GF_OCTETS)));
typedef uint8_t gf_octets_at __attribute__((vector_size(GF_OCTETS), aligned(1), may_alias));
typedef uint16_t gf_pairs __attribute__((vector_size(GF_OCTETS)));
typedef uint32_t gf_quads __attribute__((vector_size(GF_OCTETS)));
typedef int16_t gf_sums __attribute__((vector_size(GF_OCTETS)));
typedef uint16_t gf_pairs_at __attribute__((vector_size(GF_OCTETS), aligned(2), may_alias));

/* Adds bytes to the sums of their positions: to those of even ones, which so far hold 256 times the next one too, and
   then to those of odd ones. */
GF_INLINE void gf_spill(int16_t *sums, gf_octets bytes)
{
    *(gf_pairs_at *)sums += (gf_pairs)bytes;
    *(gf_pairs_at *)(sums + GF_OCTETS / 2) += (gf_pairs)bytes >> 8;
}

/* Adds `groups` looked-up rows to the sums of a block of outputs, `size` apart, at one or two vectors of positions.
   What has a name stays in a register at every level of optimization; elements of an array need not. */
GF_INLINE void gf_look_up_vectors(const unsigned vectors, const uint8_t *rows, size_t row, const uint8_t *weights,
                                  const uint8_t *tables, unsigned groups, int16_t *sums, size_t size)
{
#define GF_START(o) gf_octets left##o = {0}, right##o = {0};
#define GF_ADD(o)                                                                                          \
    table = GF_TABLE(tables + (size_t)GF_NIBBLE_PLACE * weights[o]);                                       \
    left##o += GF_LOOK_UP(table, left);                                                                    \
    if (vectors > 1)                                                                                       \
        right##o += GF_LOOK_UP(table, right);
#define GF_END(o)                                                                                          \
    gf_spill(sums + (o) * size, left##o);                                                                  \
    if (vectors > 1)                                                                                       \
        gf_spill(sums + (o) * size + GF_OCTETS, right##o);
    GF_EACH_OUTPUT(GF_START)
    for (; groups--; rows += row, weights += GF_NIBBLE_OUTPUTS) {
        const gf_octets left = GF_INDEX(rows);
        gf_octets right = left, table;
        if (vectors > 1)
            right = GF_INDEX(rows + GF_OCTETS);
        GF_EACH_OUTPUT(GF_ADD)
    }
    GF_EACH_OUTPUT(GF_END)
#undef GF_START
#undef GF_ADD
#undef GF_END
}

GF_KERNEL void gf_look_up(const uint8_t *rows, size_t row, const uint8_t *weights, const uint8_t *tables,
                          unsigned groups, int16_t *sums, size_t size)
{
    gf_look_up_vectors(2, rows, row, weights, tables, groups, sums, size);
}
#if GF_OCTETS == 64
/* The same at one vector: on maps of 8x8, all positions there are. */
GF_KERNEL void gf_look_up_last(const uint8_t *rows, size_t row, const uint8_t *weights, const uint8_t *tables,
                               unsigned groups, int16_t *sums, size_t size)
{
    gf_look_up_vectors(1, rows, row, weights, tables, groups, sums, size);
}
#define GF_SPREAD GF_UNPACK_MANY(in + lane / GF_UNIT_BITS, out, x, count)
#else
/* Indices of a vector of positions: the byte of a position's bit is looked up, and the bit compared. */
GF_INLINE gf_octets gf_spread(const gf_unit *planes, size_t units, unsigned members)
{
    gf_octets index = {0}, place, bit;
    for (unsigned i = 0; i < GF_OCTETS; i++) {
        place[i] = (uint8_t)(i / 8);
        bit[i] = (uint8_t)(1u << i % 8);
    }
    for (unsigned r = 0; r < members; r++, planes += units) {
        const gf_quads none = {0};
        uint32_t some = 0;
        for (unsigned i = 0; i < GF_OCTETS / 8; i++)
            some |= (uint32_t)planes[i] << (8 * i);
        index |= (gf_octets)((GF_LOOK_UP(none + some, place) & bit) == bit) & (uint8_t)(1u << r);
    }
    return index;
}
#define GF_SPREAD                                                                                          \
    for (; x + GF_OCTETS <= count; x += GF_OCTETS)                                                         \
        *(gf_octets_at *)(out + x) = gf_spread(in + (lane + x) / GF_UNIT_BITS, units, planes);
#endif

/* Codes of one vector of positions. */
GF_INLINE void gf_nibble_codes(const int16_t *sums, int16_t GF_FLASH *limits, unsigned levels, int16_t falling,
                               uint8_t *codes)
{
    const gf_pairs both = *(const gf_pairs_at *)sums, second = *(const gf_pairs_at *)(sums + GF_OCTETS / 2);
    const gf_sums even = (gf_sums)(both - (second << 8)), odd = (gf_sums)second;
    const gf_sums none = {0}, inverted = none - falling;
    gf_sums low = none, high = none;
    for (unsigned k = 0; k < levels; k++) {
        const gf_sums limit = none + limits[k];
        low -= (gf_sums)(even >= limit) ^ inverted;
        high -= (gf_sums)(odd >= limit) ^ inverted;
    }
    *(gf_octets_at *)codes = (gf_octets)(low | high << 8);
}
#else
#define GF_OCTETS 16
#define GF_SPREAD

GF_KERNEL void gf_look_up(const uint8_t *rows, size_t row, uint8_t GF_FLASH *weights, uint8_t GF_FLASH *tables,
                          unsigned groups, int16_t *sums, size_t size)
{
    for (; groups--; rows += row)
        for (unsigned o = 0; o < GF_NIBBLE_OUTPUTS; o++) {
            uint8_t GF_FLASH *table = tables + (size_t)GF_NIBBLE_PLACE * *weights++;
            for (unsigned i = 0; i < 2 * GF_OCTETS; i++)
                sums[o * size + i] = (int16_t)(sums[o * size + i] + table[rows[i] & ((1u << GF_INDEX_BITS) - 1)]);
        }
}

GF_INLINE void gf_nibble_codes(const int16_t *sums, int16_t GF_FLASH *limits, unsigned levels, int16_t falling,
                               uint8_t *codes)
{
    for (unsigned i = 0; i < GF_OCTETS; i++) {
        unsigned code = 0;
        for (unsigned k = 0; k < levels; k++)
            code += (unsigned)(sums[i] >= limits[k]) ^ (unsigned)falling;
        codes[i] = (uint8_t)code;
    }
}
#endif

/* Indices of one group at `count` positions from `lane` on, both multiples of 8: bit p is that of plane p. */
GF_INLINE void gf_indices(const gf_unit *in, size_t units, unsigned planes, size_t lane, unsigned count, uint8_t *out)
{
    unsigned x = 0;
    GF_SPREAD
    for (; x < count; x += 8) {
        for (unsigned i = 0; i < 8; i++)
            out[x + i] = 0;
        for (unsigned p = 0; p < planes; p++) {
            const gf_unit unit = in[p * units + (lane + x) / GF_UNIT_BITS];
            gf_join_eight(out + x, (unsigned)(unit >> ((lane + x) % GF_UNIT_BITS)) & 255u, p);
        }
    }
}

/* Rows of `groups` groups from `first` on, for the tile that starts in row `y`; `plain`: scratch for one of them. */
GF_KERNEL void gf_nibble_rows(gf_nibbles_layer GF_FLASH *layer, const gf_unit *in, unsigned first, unsigned groups,
                              unsigned y, uint8_t *plain, uint8_t *rows)
{
    const unsigned columns = layer->columns, row = layer->row;
    const size_t units = (size_t)layer->rows * columns / GF_UNIT_BITS;
    /* rows of the image that the table's rows start and end with */
    const long top = (long)y + layer->above, bottom = top + (long)(row / columns);
    const long start = top < 0 ? 0 : top, end = bottom < layer->rows ? bottom : layer->rows;
    for (unsigned i = 0; i < row + 2 * columns; i++)
        plain[i] = 0;
    plain += columns;
    for (unsigned g = 0; g < groups; g++, rows += row) {
        const unsigned plane = (first + g) * layer->members, left = layer->total - plane;
        if (start < end)
            gf_indices(in + plane * units, units, left < layer->members ? left : layer->members,
                       (size_t)start * columns, (unsigned)(end - start) * columns,
                       plain + (size_t)(start - top) * columns);
        for (unsigned m = 0; m < layer->moves; m++) {
            const long across = layer->across[m];
            uint8_t *const out = rows + (size_t)m * layer->chunk * row;
            for (unsigned i = 0; i < row; i++)
                out[i] = plain[(long)i + across];
            /* columns beside the image */
            for (long x = across < 0 ? 0 : columns - across; x < (across < 0 ? -across : (long)columns); x++)
                for (size_t at = (size_t)x; at < row; at += columns)
                    out[at] = 0;
        }
    }
}

/* The largest code of each 2x2 window of two rows, to the front of the first and then to `out`, which is not behind. */
GF_INLINE void gf_pool_codes(uint8_t *codes, unsigned columns, uint8_t *out)
{
    for (unsigned x = 0; x < columns / 2; x++) {
        const uint8_t *one = codes + 2 * x, *two = one + columns;
        const uint8_t above = one[0] > one[1] ? one[0] : one[1], below = two[0] > two[1] ? two[0] : two[1];
        codes[x] = above > below ? above : below;
    }
    for (unsigned x = 0; x < columns / 2; x++)
        out[x] = codes[x];
}

/* Codes of one output in the tile from row `y` on, into the planes of its channel. */
GF_KERNEL void gf_nibble_output(gf_nibbles_layer GF_FLASH *layer, unsigned output, const int16_t *sums, size_t size,
                                unsigned y, uint8_t *codes, gf_unit *out)
{
    const unsigned columns = layer->columns, left = layer->out_rows - y, pool = layer->pool;
    const unsigned rows = left < layer->tile ? left : layer->tile, side = pool ? 2 : 1, wide = columns / side;
    const size_t units = ((size_t)wide * (layer->out_rows / side) + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    for (size_t at = 0; at < size; at += GF_OCTETS)
        gf_nibble_codes(sums + at, layer->limits + (size_t)output * layer->levels, layer->levels,
                        layer->falling[output], codes + at);
    for (unsigned r = 0; pool && r + 1 < rows; r += 2)
        gf_pool_codes(codes + (size_t)r * columns, columns, codes + (size_t)(r / 2) * wide);
    gf_lanes_row(codes, out + (size_t)output * layer->codes * units, layer->codes, units, (size_t)(y / side) * wide,
                 rows / side * wide);
}

/* Adds what one table of rows, of `groups` groups, holds to the sums of a block of outputs; returns the end of their
   weights. */
GF_INLINE uint8_t GF_FLASH *gf_nibble_block(gf_nibbles_layer GF_FLASH *layer, const uint8_t *rows, unsigned groups,
                                            uint8_t GF_FLASH *weights, int16_t *sums, size_t size)
{
    const unsigned run = layer->run;
    for (unsigned t = 0; t < layer->taps; t++)
        for (unsigned g = 0; g < groups; g += run) {
            const unsigned some = groups - g < run ? groups - g : run;
            const size_t tap = layer->tap[t] + (size_t)g * layer->row;
            size_t at = 0;
            for (; at + 2 * GF_OCTETS <= size; at += 2 * GF_OCTETS)
                gf_look_up(rows + tap + at, layer->row, weights, layer->tables, some, sums + at, size);
#if GF_OCTETS == 64
            if (at < size)
                gf_look_up_last(rows + tap + at, layer->row, weights, layer->tables, some, sums + at, size);
#endif
            weights += some * GF_NIBBLE_OUTPUTS;
        }
    return weights;
}

/* A layer with thresholds: from lanes to lanes. `rows`, `plain`, `sums`, `codes`: scratch, `sums` for all outputs where
   one table does not hold all groups, else for a block. `size`: positions of a tile in whole vectors, pairs of them
   but for indices of six bits; what is read behind a row is not kept. */
GF_KERNEL void gf_nibbles_run(gf_nibbles_layer GF_FLASH *layer, const gf_unit *in, gf_unit *out, uint8_t *rows,
                              uint8_t *plain, int16_t *sums, uint8_t *codes, size_t size)
{
    const unsigned outputs = layer->outputs, chunk = layer->chunk;
    const size_t held = chunk < layer->groups ? size : 0;
#if GF_INDEX_BITS == 6
    sums += (0u - (uintptr_t)sums) % 64 / 2; /* no vector of them across two lines of the cache */
#endif
    for (unsigned y = 0; y < layer->out_rows; y += layer->tile) {
        uint8_t GF_FLASH *weights = layer->weights;
        for (unsigned first = 0; first < layer->groups; first += chunk) {
            const unsigned groups = layer->groups - first < chunk ? layer->groups - first : chunk;
            gf_nibble_rows(layer, in, first, groups, y, plain, rows);
            for (unsigned o = 0; o < outputs; o += GF_NIBBLE_OUTPUTS) {
                int16_t *const block = sums + o * held;
                for (size_t i = 0; !first && i < GF_NIBBLE_OUTPUTS * size; i++)
                    block[i] = 0;
                weights = gf_nibble_block(layer, rows, groups, weights, block, size);
                for (unsigned i = 0; first + groups == layer->groups && i < GF_NIBBLE_OUTPUTS && o + i < outputs; i++)
                    gf_nibble_output(layer, o + i, block + i * size, size, y, codes, out);
            }
        }
    }
}

/* Windows over an image, for the kernels that go from position to position. */

typedef struct {
    uint16_t channels, rows, columns; /* of the image */
    uint16_t planes;
    uint16_t out_rows, out_columns;
    uint16_t kernel_rows, kernel_columns;
    uint16_t stride_rows, stride_columns, padding_rows, padding_columns, dilation_rows, dilation_columns;
} gf_window;

/* Where the image has the row that a kernel row reads, or -1 outside. */
GF_INLINE ptrdiff_t gf_tapped_line(gf_window GF_FLASH *window, unsigned y, unsigned u)
{
    const size_t row = (size_t)y * window->stride_rows + (size_t)u * window->dilation_rows - window->padding_rows;
    return row < window->rows ? (ptrdiff_t)(row * window->columns) : -1;
}

/* The column that the first kernel column reads, which may be outside. */
GF_INLINE size_t gf_tapped_column(gf_window GF_FLASH *window, unsigned x)
{
    return (size_t)x * window->stride_columns - window->padding_columns;
}

/* Index of a position, or -1 outside the image of `columns`; a column left of it is a large one. */
GF_INLINE ptrdiff_t gf_tapped(ptrdiff_t line, size_t column, size_t columns)
{
    return line < 0 || column >= columns ? -1 : line + (ptrdiff_t)column;
}

/* The words of a window, [plane][tap][word]. */
GF_KERNEL void gf_patch(gf_window GF_FLASH *window, const gf_word *in, unsigned y, unsigned x, gf_word *patch)
{
    const size_t words = (window->channels + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    const size_t plane = words * window->kernel_rows * window->kernel_columns, columns = window->columns;
    for (unsigned u = 0; u < window->kernel_rows; u++) {
        const ptrdiff_t line = gf_tapped_line(window, y, u);
        size_t column = gf_tapped_column(window, x);
        for (unsigned v = 0; v < window->kernel_columns; v++, patch += words, column += window->dilation_columns) {
            const ptrdiff_t at = gf_tapped(line, column, columns);
            const gf_word *from = in + (size_t)(at < 0 ? 0 : at) * window->planes * words;
            gf_word *to = patch;
            for (unsigned p = 0; p < window->planes; p++, to += plane)
                for (size_t w = 0; w < words; w++, from++)
                    to[w] = at < 0 ? 0 : *from;
        }
    }
}

/* Sum of a channel's codes over all positions. */
GF_KERNEL void gf_words_total(const gf_word *in, int32_t *sums, unsigned channels, unsigned planes, size_t positions)
{
    const unsigned words = (channels + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    for (unsigned c = 0; c < channels; c++)
        sums[c] = 0;
    for (size_t at = 0; at < positions; at++)
        for (unsigned p = 0; p < planes; p++, in += words)
            for (unsigned w = 0; w < words; w++) {
                int32_t *sum = sums + (size_t)w * GF_WORD_BITS;
                for (gf_word word = in[w]; word; word = (gf_word)(word >> 1), sum++)
                    *sum += (int32_t)((word & 1u) << p);
            }
}

/* Position number `at` of a layer: in row-major order, or window after window where 2x2 pooling follows. */
GF_INLINE void gf_position(gf_window GF_FLASH *window, unsigned pool, size_t at, unsigned *y, unsigned *x)
{
    const unsigned columns = pool ? window->out_columns / 2u : window->out_columns;
    const size_t whole = pool ? at / 4 : at;
    *y = (unsigned)(whole / columns);
    *x = (unsigned)(whole % columns);
    if (pool) {
        *y = 2 * *y + (unsigned)(at / 2 % 2);
        *x = 2 * *x + (unsigned)(at % 2);
    }
}

/* Positions that are computed: all, or those of whole windows. */
GF_INLINE size_t gf_position_count(gf_window GF_FLASH *window, unsigned pool)
{
    return pool ? (size_t)4 * (window->out_rows / 2u) * (window->out_columns / 2u)
                : (size_t)window->out_rows * window->out_columns;
}

/* Codes of one position to where they belong; the larger ones stay where 2x2 pooling follows. */
GF_INLINE void gf_keep_codes(const gf_word *codes, gf_word *out, unsigned planes, unsigned words, unsigned pool, size_t at)
{
    out += (pool ? at / 4 : at) * planes * words;
    for (unsigned w = 0; w < words; w++) {
        gf_word larger = 0;
        for (unsigned p = 0; p < planes && pool && at % 4; p++) {
            const gf_word old = out[p * words + w], next = codes[p * words + w];
            larger = (gf_word)((next & (gf_word)~old) | (larger & (gf_word)~(old ^ next)));
        }
        if (!pool || at % 4 == 0)
            larger = (gf_word)~(gf_word)0;
        for (unsigned p = 0; p < planes; p++)
            out[p * words + w] = (gf_word)((codes[p * words + w] & larger) | (out[p * words + w] & (gf_word)~larger));
    }
}

/* Layer of popcounts: for sign bits n within masks m, the sum over bits a of the weights is
   popcount((a ^ n) & m) - popcount(n), whose second term is part of `start`. */

typedef struct {
    gf_window window;
    uint16_t outputs, magnitudes, words; /* words of one plane of a window */
    uint16_t levels;
    uint8_t codes, pool;
    uint8_t apart;             /* whether there are two masks, which have no bit in common */
    gf_word GF_FLASH *weights; /* [block][word][n, m0, m1 ..][output of the block] */
    gf_sum GF_FLASH *start;    /* [output], whole blocks */
    gf_sum GF_FLASH *limits;   /* [block][level][output of the block], all reached from below */
} gf_words_layer;

#if defined(__AVX512F__) && defined(__AVX512VPOPCNTDQ__) && GF_BLOCK == 32 && GF_WORD_BITS == 64
#include <immintrin.h>
GF_INLINE __m512i gf_sixteen_sums(gf_sum GF_FLASH *at)
{
#if GF_SUM_BITS == 32
    return _mm512_loadu_si512(at);
#else
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)at));
#endif
}

/* Four positions by 32 outputs in 16 registers; each word of a mask is loaded once for all four. */
GF_KERNEL void gf_words_sums(gf_words_layer GF_FLASH *layer, const gf_word *patches, size_t patch, unsigned block,
                             int32_t *sums)
{
    const unsigned magnitudes = layer->magnitudes, words = layer->words;
    const size_t step = (size_t)(1u + magnitudes) * GF_BLOCK;
    const unsigned planes = layer->window.planes;
    __m512i total[GF_POSITIONS][4];
    for (unsigned q = 0; q < GF_POSITIONS; q++)
        for (unsigned l = 0; l < 4; l++)
            total[q][l] = _mm512_setzero_si512();
    /* of one weight are the bits of plane p under the first mask and those of plane p - 1 under the second,
       which one popcount counts */
    for (unsigned p = 1; layer->apart && p < planes; p++) {
        const gf_word *at = layer->weights + (size_t)block * words * step;
        const gf_word *bits = patches + (size_t)p * words;
        __m512i sum[GF_POSITIONS][4];
        for (unsigned q = 0; q < GF_POSITIONS; q++)
            for (unsigned l = 0; l < 4; l++)
                sum[q][l] = _mm512_setzero_si512();
        for (unsigned w = 0; w < words; w++, at += step)
            for (unsigned l = 0; l < 4; l++) {
                const __m512i negative = _mm512_loadu_si512(at + 8 * l);
                const __m512i second = _mm512_loadu_si512(at + 2 * (size_t)GF_BLOCK + 8 * l);
                const __m512i either = _mm512_or_si512(_mm512_loadu_si512(at + (size_t)GF_BLOCK + 8 * l), second);
                for (unsigned q = 0; q < GF_POSITIONS; q++) {
                    const __m512i word = _mm512_set1_epi64((long long)bits[q * patch + w]);
                    const __m512i below = _mm512_set1_epi64((long long)bits[q * patch + w - words]);
                    const __m512i chosen = _mm512_ternarylogic_epi64(second, below, word, 0xca); /* a ? b : c */
                    const __m512i kept = _mm512_ternarylogic_epi64(chosen, negative, either, 0x28); /* (a ^ b) & c */
                    sum[q][l] = _mm512_add_epi64(sum[q][l], _mm512_popcnt_epi64(kept));
                }
            }
        for (unsigned q = 0; q < GF_POSITIONS; q++)
            for (unsigned l = 0; l < 4; l++)
                total[q][l] = _mm512_add_epi64(total[q][l], _mm512_slli_epi64(sum[q][l], p));
    }
    for (unsigned p = 0; p < planes; p++)
        for (unsigned m = 0; m < magnitudes; m++) {
            const gf_word *at = layer->weights + (size_t)block * words * step;
            const gf_word *bits = patches + (size_t)p * words;
            __m512i sum[GF_POSITIONS][4];
            if (layer->apart && p + m > 0 && p + m < planes)
                continue;
            for (unsigned q = 0; q < GF_POSITIONS; q++)
                for (unsigned l = 0; l < 4; l++)
                    sum[q][l] = _mm512_setzero_si512();
            for (unsigned w = 0; w < words; w++, at += step)
                for (unsigned l = 0; l < 4; l++) {
                    const __m512i negative = _mm512_loadu_si512(at + 8 * l);
                    const __m512i mask = _mm512_loadu_si512(at + (size_t)(1 + m) * GF_BLOCK + 8 * l);
                    for (unsigned q = 0; q < GF_POSITIONS; q++) {
                        const __m512i word = _mm512_set1_epi64((long long)bits[q * patch + w]);
                        const __m512i kept = _mm512_and_si512(_mm512_xor_si512(word, negative), mask);
                        sum[q][l] = _mm512_add_epi64(sum[q][l], _mm512_popcnt_epi64(kept));
                    }
                }
            for (unsigned q = 0; q < GF_POSITIONS; q++)
                for (unsigned l = 0; l < 4; l++)
                    total[q][l] = _mm512_add_epi64(total[q][l], _mm512_slli_epi64(sum[q][l], p + m));
        }
    for (unsigned l = 0; l < 4; l += 2) {
        const __m512i start = gf_sixteen_sums(layer->start + block * GF_BLOCK + 8 * l);
        for (unsigned q = 0; q < GF_POSITIONS; q++) {
            const __m512i low = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(total[q][l]));
            const __m512i both = _mm512_inserti64x4(low, _mm512_cvtepi64_epi32(total[q][l + 1]), 1);
            _mm512_storeu_si512(sums + q * GF_BLOCK + 8 * l, _mm512_add_epi32(both, start));
        }
    }
}

/* Codes of a block of outputs: which of them reach a level is one word, and words are counted bit by bit. */
GF_INLINE void gf_words_codes(gf_words_layer GF_FLASH *layer, const int32_t *sums, unsigned block, gf_word *to)
{
    const unsigned words = (layer->outputs + GF_WORD_BITS - 1u) / GF_WORD_BITS, codes = layer->codes;
    const __m512i low = _mm512_loadu_si512(sums), high = _mm512_loadu_si512(sums + 16);
    gf_sum GF_FLASH *limits = layer->limits + (size_t)block * layer->levels * GF_BLOCK;
    gf_word counts[8] = {0};
    for (unsigned k = 0; k < layer->levels; k++, limits += GF_BLOCK) {
        gf_word carry = (gf_word)_mm512_cmpge_epi32_mask(low, gf_sixteen_sums(limits)) |
                        (gf_word)_mm512_cmpge_epi32_mask(high, gf_sixteen_sums(limits + 16)) << 16;
        for (unsigned j = 0; j < codes; j++) {
            const gf_word both = counts[j] & carry;
            counts[j] ^= carry;
            carry = both;
        }
    }
    for (unsigned j = 0; j < codes; j++)
        to[j * words + block * GF_BLOCK / GF_WORD_BITS] |= counts[j] << (block * GF_BLOCK % GF_WORD_BITS);
}
#else
/* Ones of the words that one output's first mask inverts and that the mask `which` behind it keeps. */
#if GF_WORD_BITS == 8
/* A function of its own: an AVR has registers for this loop, and not for those around it. */
GF_KERNEL unsigned gf_ones(const gf_word *bits, gf_word GF_FLASH *at, unsigned words, unsigned step, unsigned which)
{
    gf_word GF_FLASH *const end = at + (size_t)words * step;
    unsigned sum = 0;
    if (step == 2)
        for (; at != end; at += 2)
            sum += gf_popcount((gf_word)((*bits++ ^ at[0]) & at[1]));
    else
        for (; at != end; at += step)
            sum += gf_popcount((gf_word)((*bits++ ^ at[0]) & at[which]));
    return sum;
}
#else
GF_INLINE unsigned gf_ones(const gf_word *bits, gf_word GF_FLASH *at, unsigned words, size_t step, size_t which)
{
    unsigned sum = 0;
    for (unsigned w = 0; w < words; w++, at += step)
        sum += gf_popcount((gf_word)((bits[w] ^ at[0]) & at[which]));
    return sum;
}
#endif

GF_KERNEL void gf_words_sums(gf_words_layer GF_FLASH *layer, const gf_word *patches, size_t patch, unsigned block,
                             int32_t *sums)
{
    const unsigned magnitudes = layer->magnitudes, words = layer->words, planes = layer->window.planes;
    const size_t step = (size_t)(1u + magnitudes) * GF_BLOCK;
    for (unsigned q = 0; q < GF_POSITIONS; q++)
        for (unsigned l = 0; l < GF_BLOCK; l++) {
            int32_t total = layer->start[block * GF_BLOCK + l];
            for (unsigned m = 0; m < magnitudes; m++)
                for (unsigned p = 0; p < planes; p++) {
                    gf_word GF_FLASH *at = layer->weights + (size_t)block * words * step + l;
                    const gf_word *bits = patches + q * patch + (size_t)p * words;
                    const uint32_t sum = gf_ones(bits, at, words, step, (1 + m) * (size_t)GF_BLOCK);
                    total += (int32_t)(sum << (p + m));
                }
            sums[q * GF_BLOCK + l] = total;
        }
}

/* Codes of a block of outputs. */
GF_INLINE void gf_words_codes(gf_words_layer GF_FLASH *layer, const int32_t *sums, unsigned block, gf_word *to)
{
    const unsigned words = (layer->outputs + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    const unsigned levels = layer->levels, codes = layer->codes;
    for (unsigned l = 0; l < GF_BLOCK && block * GF_BLOCK + l < layer->outputs; l++) {
        const unsigned output = block * GF_BLOCK + l;
        gf_sum GF_FLASH *limits = layer->limits + (size_t)block * levels * GF_BLOCK + l;
        unsigned code = 0;
        for (unsigned k = 0; k < levels; k++)
            code += sums[l] >= limits[k * (size_t)GF_BLOCK];
        for (unsigned j = 0; j < codes; j++)
            to[j * words + output / GF_WORD_BITS] |= (gf_word)((gf_word)((code >> j) & 1u) << (output % GF_WORD_BITS));
    }
}
#endif

/* A layer with thresholds: from words to words. `patches`, `coded`: scratch for GF_POSITIONS positions. */
GF_KERNEL void gf_words_run(gf_words_layer GF_FLASH *layer, const gf_word *in, gf_word *out, gf_word *patches,
                            gf_word *coded)
{
    const unsigned codes = layer->codes, pool = layer->pool;
    const size_t positions = gf_position_count(&layer->window, pool);
    const size_t patch = (size_t)layer->window.planes * layer->words;
    const unsigned words = (layer->outputs + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    for (size_t at = 0; at < positions; at += GF_POSITIONS) {
        const unsigned some = positions - at < GF_POSITIONS ? (unsigned)(positions - at) : GF_POSITIONS;
        for (unsigned q = 0; q < some; q++) {
            unsigned y, x;
            gf_position(&layer->window, pool, at + q, &y, &x);
            gf_patch(&layer->window, in, y, x, patches + q * patch);
        }
        for (unsigned w = 0; w < GF_POSITIONS * words * codes; w++)
            coded[w] = 0;
        for (unsigned block = 0; block * GF_BLOCK < layer->outputs; block++) {
            int32_t sums[GF_POSITIONS * GF_BLOCK];
            gf_words_sums(layer, patches, patch, block, sums);
            for (unsigned q = 0; q < some; q++)
                gf_words_codes(layer, sums + q * GF_BLOCK, block, coded + q * words * codes);
        }
        for (unsigned q = 0; q < some; q++)
            gf_keep_codes(coded + q * words * codes, out, codes, words, pool, at + q);
    }
}

/* Activation-driven layer: lanes are outputs. Each bit of the window that is set adds one row of weights. */

typedef struct {
    gf_window window;
    uint16_t outputs, magnitudes, bits, units; /* units of a row of weights */
    uint16_t levels, codes, pool, capacity;    /* capacity: entries of one plane's list */
    gf_unit GF_FLASH *weights; /* [block of lanes][magnitude][+, -][tap][channel][unit] */
    gf_unit GF_FLASH *limits;  /* [level][bit][unit], less the least sum of `bits` bits */
    gf_unit GF_FLASH *falling; /* [unit] */
} gf_columns_layer;

GF_KERNEL unsigned gf_active(gf_window GF_FLASH *window, const gf_word *in, unsigned y, unsigned x, unsigned plane,
                             uint16_t *list)
{
    const unsigned words = (window->channels + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    const size_t columns = window->columns;
    uint16_t *end = list;
    unsigned tap = 0;
    for (unsigned u = 0; u < window->kernel_rows; u++) {
        const ptrdiff_t line = gf_tapped_line(window, y, u);
        size_t column = gf_tapped_column(window, x);
        for (unsigned v = 0; v < window->kernel_columns;
             v++, tap += window->channels, column += window->dilation_columns) {
            const ptrdiff_t at = gf_tapped(line, column, columns);
            if (at < 0)
                continue;
            for (unsigned w = 0; w < words; w++) {
                gf_word word = in[((size_t)at * window->planes + plane) * words + w];
                unsigned channel = tap + w * GF_WORD_BITS;
#if GF_VECTOR_BITS >= 128
                for (; word; word = (gf_word)(word >> 8), channel += 8) {
                    const gf_eight places = *(const gf_eight_at *)gf_set_bits[word & 255u];
                    *(gf_eight_at *)end = places + (uint16_t)channel;
                    end += gf_popcount(word & 255u);
                }
#else
                for (; word; word = (gf_word)(word >> 1), channel++)
                    if (word & 1u)
                        *end++ = (uint16_t)channel;
#endif
            }
        }
    }
    return (unsigned)(end - list);
}

/* Adds up one block of outputs for the active inputs in `lists`, `counts` of them in each plane. */
GF_INLINE void gf_columns_sum(gf_columns_layer GF_FLASH *layer, gf_unit GF_FLASH *weights, const uint16_t *lists,
                              const unsigned *counts, gf_lane_at *counters)
{
    const unsigned bits = layer->bits, planes = layer->window.planes, magnitudes = layer->magnitudes;
    const size_t scale = GF_BLOCK_UNITS, plane = scale * layer->capacity;
    const gf_lane none = {0};
    for (unsigned i = 0; i < bits; i++)
        counters[i] = ~none; /* -1, as in gf_lanes_block */
    for (unsigned weight = planes + magnitudes - 1; weight--;) {
        if (weight != planes + magnitudes - 2) {
            gf_double(counters, bits);
            gf_negate(counters, bits);
        }
        for (unsigned sign = 2; sign--;) {
            for (unsigned m = 0; m < magnitudes; m++)
                if (weight >= m && weight - m < planes)
                    gf_add_columns(counters, bits, weights + (2 * m + sign) * plane, scale,
                                   lists + (size_t)(weight - m) * layer->capacity, counts[weight - m]);
            if (sign)
                gf_negate(counters, bits);
        }
    }
}

/* Codes of one block of outputs, from unit `first` on, into the words of one position. */
GF_INLINE void gf_columns_codes(gf_columns_layer GF_FLASH *layer, const gf_lane_at *counters, unsigned first,
                                gf_word *coded, unsigned words)
{
    const unsigned bits = layer->bits, units = layer->units;
    const gf_lane none = {0};
    gf_lane code[GF_MAX_CODES];
    for (unsigned j = 0; j < GF_MAX_CODES; j++)
        code[j] = none;
    for (unsigned k = 0; k < layer->levels; k++) {
        gf_unit GF_FLASH *limit = layer->limits + (size_t)k * (bits + 1) * units + first;
        gf_lane reached = ~none;
        for (unsigned i = 0; i < bits; i++, limit += units) {
            const gf_lane bit = i + 1 < bits ? (gf_lane)counters[i] : (gf_lane)~counters[i];
            const gf_lane wanted = GF_LOAD_FLASH(limit);
            reached = (bit & ~wanted) | (reached & ~(bit ^ wanted));
        }
        reached &= ~GF_LOAD_FLASH(limit); /* beyond every sum */
        gf_count_level(code, layer->codes, k, reached ^ GF_LOAD_FLASH(layer->falling + first));
    }
    for (unsigned j = 0; j < layer->codes; j++) {
        gf_unit some[GF_LANE_UNITS];
        GF_STORE(some, code[j]);
        for (unsigned i = 0; i < GF_LANE_UNITS; i++) {
            const unsigned lane = (first + i) * GF_UNIT_BITS;
#if GF_UNIT_BITS <= GF_WORD_BITS
            if (lane < layer->outputs)
                coded[j * words + lane / GF_WORD_BITS] |= (gf_word)((gf_word)some[i] << (lane % GF_WORD_BITS));
#else
            for (unsigned part = 0; part < GF_UNIT_BITS && lane + part < layer->outputs; part += GF_WORD_BITS)
                coded[j * words + (lane + part) / GF_WORD_BITS] = (gf_word)(some[i] >> part);
#endif
        }
    }
}

/* A layer with thresholds: from words to words. `lists`, `counters`, `coded`: scratch. */
GF_KERNEL void gf_columns_run(gf_columns_layer GF_FLASH *layer, const gf_word *in, gf_word *out, uint16_t *lists,
                              gf_lane_at *counters, gf_word *coded)
{
    const unsigned planes = layer->window.planes, codes = layer->codes;
    const unsigned words = (layer->outputs + GF_WORD_BITS - 1u) / GF_WORD_BITS;
    const size_t positions = gf_position_count(&layer->window, layer->pool);
    const size_t block = (size_t)2 * layer->magnitudes * GF_BLOCK_UNITS * layer->capacity;
    for (size_t at = 0; at < positions; at++) {
        unsigned counts[8], y, x;
        gf_position(&layer->window, layer->pool, at, &y, &x);
        for (unsigned p = 0; p < planes; p++)
            counts[p] = gf_active(&layer->window, in, y, x, p, lists + (size_t)p * layer->capacity);
        for (unsigned w = 0; w < words * codes; w++)
            coded[w] = 0;
        for (unsigned first = 0; first < layer->units; first += GF_LANE_UNITS) {
            gf_columns_sum(layer, layer->weights + first / GF_BLOCK_UNITS * block + first % GF_BLOCK_UNITS, lists,
                           counts, counters);
            gf_columns_codes(layer, counters, first, coded, words);
        }
        gf_keep_codes(coded, out, codes, words, layer->pool, at);
    }
}

/* Pooling of words: the largest of each window. */
GF_KERNEL void gf_words_pool(gf_window GF_FLASH *window, const gf_word *in, gf_word *out)
{
    const unsigned words = (window->channels + GF_WORD_BITS - 1u) / GF_WORD_BITS, planes = window->planes;
    for (unsigned y = 0; y < window->out_rows; y++)
        for (unsigned x = 0; x < window->out_columns; x++, out += planes * words) {
            for (unsigned w = 0; w < words * planes; w++)
                out[w] = 0;
            for (unsigned u = 0; u < window->kernel_rows; u++) {
                const ptrdiff_t line = gf_tapped_line(window, y, u);
                size_t column = gf_tapped_column(window, x);
                for (unsigned v = 0; v < window->kernel_columns; v++, column += window->dilation_columns) {
                    const ptrdiff_t at = gf_tapped(line, column, window->columns);
                    const gf_word *other = in + (size_t)(at < 0 ? 0 : at) * planes * words;
                    for (unsigned w = 0; at >= 0 && w < words; w++) {
                        gf_word larger = 0;
                        for (unsigned p = 0; p < planes; p++) {
                            const gf_word a = out[p * words + w], b = other[p * words + w];
                            larger = (gf_word)((b & (gf_word)~a) | (larger & (gf_word)~(a ^ b)));
                        }
                        for (unsigned p = 0; p < planes; p++)
                            out[p * words + w] = (gf_word)((other[p * words + w] & larger)
                                                           | (out[p * words + w] & (gf_word)~larger));
                    }
                }
            }
        }
}

/* Layer of plain integers: row by row of the result, what each tap of the window reads in a row of its own. */

typedef struct {
    gf_window window;
    uint16_t outputs, inputs;  /* inputs: channels of a group */
    uint16_t group, row;       /* outputs of a group; elements of a row, at least the result's columns */
    uint8_t GF_FLASH *weights; /* [output]: digits of [input][tap], as many as fit a byte */
    uint16_t bytes;            /* of one output */
    uint8_t levels;            /* of a weight */
} gf_integer_layer;

/* `count` weights from their digits: to the base of `levels`, evenly spaced around 0, of step 1 or 2. */
#if GF_ADDS
/* The highest digit first, by subtraction. */
GF_KERNEL void gf_weights(uint8_t GF_FLASH *bytes, unsigned levels, size_t count, int8_t *weights)
{
    const int step = levels % 2 ? 1 : 2, least = -step * (int)(levels - 1) / 2;
    unsigned powers[8], most = 1;
    powers[0] = 1;
    for (; powers[most - 1] * levels * levels <= 256u; most++)
        powers[most] = powers[most - 1] * levels;
    while (count) {
        unsigned rest = *bytes++;
        const unsigned some = count < most ? (unsigned)count : most;
        for (unsigned i = most - 1; i > 0; i--) {
            int weight = least;
            for (; rest >= powers[i]; rest -= powers[i])
                weight += step;
            if (i < some)
                weights[i] = (int8_t)weight;
        }
        weights[0] = (int8_t)(least + (int)(step == 1 ? rest : 2 * rest));
        weights += some;
        count -= some;
    }
}
#else
GF_KERNEL void gf_weights(uint8_t GF_FLASH *bytes, unsigned levels, size_t count, int8_t *weights)
{
    const uint32_t inverse = 65536u / levels + 1u; /* exact for dividends below 256 */
    const int step = levels % 2 ? 1 : 2, least = -step * (int)(levels - 1) / 2;
    unsigned most = 1;
    for (unsigned power = levels; power * levels <= 256u; power *= levels)
        most++;
    while (count) {
        unsigned rest = *bytes++;
        const unsigned some = count < most ? (unsigned)count : most;
        for (unsigned i = 0; i < some; i++) {
            const unsigned quotient = (unsigned)((rest * inverse) >> 16);
            *weights++ = (int8_t)(step * (int)(rest - quotient * levels) + least);
            rest = quotient;
        }
        count -= some;
    }
}
#endif

/* Defines NAME_taps, which fills `rows`, [input][tap][column], for one row of the result and one group, and
   NAME_sums, the sums of one output of that group. ROW: type of an element of the rows. */
#define GF_DEFINE_INTEGER_ROWS(NAME, TYPE, ROW, SUM)                                                       \
    GF_KERNEL void NAME##_taps(gf_integer_layer GF_FLASH *layer, const TYPE *in, unsigned group, unsigned y, \
                               ROW *rows)                                                                  \
    {                                                                                                      \
        gf_window GF_FLASH *window = &layer->window;                                                       \
        const size_t columns = window->columns, size = window->rows * columns;                             \
        const unsigned step = window->stride_columns, filled = window->out_columns, row = layer->row;      \
        in += (size_t)group * layer->inputs * size;                                                        \
        for (unsigned c = 0; c < layer->inputs; c++, in += size)                                           \
            for (unsigned u = 0; u < window->kernel_rows; u++) {                                           \
                const ptrdiff_t line = gf_tapped_line(window, y, u);                                       \
                for (unsigned v = 0; v < window->kernel_columns; v++) {                                    \
                    size_t column = (size_t)v * window->dilation_columns - window->padding_columns;        \
                    unsigned x = 0;                                                                        \
                    for (; x < filled; x++, column += step) {                                              \
                        const ptrdiff_t at = gf_tapped(line, column, columns);                             \
                        *rows++ = at < 0 ? 0 : (ROW)in[at];                                                \
                    }                                                                                      \
                    for (; x < row; x++)                                                                   \
                        *rows++ = 0;                                                                       \
                }                                                                                          \
            }                                                                                              \
    }                                                                                                      \
    GF_KERNEL void NAME##_sums(gf_integer_layer GF_FLASH *layer, const ROW *rows, const int8_t *weights,   \
                               SUM *sums)                                                                  \
    {                                                                                                      \
        const size_t taps = (size_t)layer->inputs * layer->window.kernel_rows * layer->window.kernel_columns; \
        const unsigned row = layer->row;                                                                   \
        for (unsigned x = 0; x < row; x += (unsigned)GF_RUN(SUM)) {                                              \
            GF_SUMS_OF_RUN(ROW, SUM)                                                                       \
        }                                                                                                  \
    }

#if GF_VECTOR_BITS >= 128
/* Two vectors of sums in registers. */
#define GF_RUN(SUM) (GF_VECTOR_BITS / 4 / sizeof(SUM))
#define GF_SUMS_OF_RUN(ROW, SUM)                                                                           \
    typedef SUM gf_run __attribute__((vector_size(GF_VECTOR_BITS / 8)));                                     \
    typedef SUM gf_run_at __attribute__((vector_size(GF_VECTOR_BITS / 8), aligned(sizeof(SUM)), may_alias)); \
    gf_run left = {0}, right = {0};                                                                        \
    for (size_t t = 0; t < taps; t++) {                                                                    \
        const ROW *at = rows + t * row + x;                                                                \
        left += *(const gf_run_at *)at * weights[t];                                                       \
        right += *(const gf_run_at *)(at + GF_RUN(SUM) / 2) * weights[t];                                  \
    }                                                                                                      \
    *(gf_run_at *)(sums + x) = left;                                                                       \
    *(gf_run_at *)(sums + x + GF_RUN(SUM) / 2) = right;
#else
/* Four sums in registers. */
#define GF_RUN(SUM) 4
#if GF_ADDS
/* One bit of all magnitudes after the other, the highest first: a weight of 0 takes no time, and none a product. */
#define GF_ADD_RUN(SIGN) sum0 SIGN at[0], sum1 SIGN at[1], sum2 SIGN at[2], sum3 SIGN at[3]
#define GF_ADD_TAPS(ROW, SUM)                                                                              \
    const unsigned most = layer->levels % 2 ? layer->levels / 2u : layer->levels - 1u;                     \
    unsigned bit = 1;                                                                                      \
    while (2 * bit <= most)                                                                                \
        bit *= 2;                                                                                          \
    for (; bit > 0; bit /= 2) {                                                                            \
        const ROW *at = rows + x;                                                                          \
        sum0 += sum0, sum1 += sum1, sum2 += sum2, sum3 += sum3;                                            \
        for (size_t t = 0; t < taps; t++, at += row) {                                                     \
            const int weight = weights[t];                                                                 \
            if (!((unsigned)(weight < 0 ? -weight : weight) & bit))                                        \
                continue;                                                                                  \
            if (weight > 0)                                                                                \
                GF_ADD_RUN(+=);                                                                            \
            else                                                                                           \
                GF_ADD_RUN(-=);                                                                            \
        }                                                                                                  \
    }
#else
#define GF_ADD_TAPS(ROW, SUM)                                                                              \
    const ROW *at = rows + x;                                                                              \
    for (size_t t = 0; t < taps; t++, at += row) {                                                         \
        const SUM weight = weights[t];                                                                     \
        sum0 += (SUM)at[0] * weight;                                                                       \
        sum1 += (SUM)at[1] * weight;                                                                       \
        sum2 += (SUM)at[2] * weight;                                                                       \
        sum3 += (SUM)at[3] * weight;                                                                       \
    }
#endif
#define GF_SUMS_OF_RUN(ROW, SUM)                                                                           \
    SUM sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;                                                            \
    GF_ADD_TAPS(ROW, SUM)                                                                                  \
    sums[x] = sum0;                                                                                        \
    sums[x + 1] = sum1;                                                                                    \
    sums[x + 2] = sum2;                                                                                    \
    sums[x + 3] = sum3;
#endif

/* The same where two products of 16 bits are added in one instruction: rows are [two taps][column][tap], and so
   are the weights, the last of an odd number 0. */
#define GF_DEFINE_PAIRED_ROWS(NAME, TYPE)                                                                  \
    GF_KERNEL void NAME##_taps(gf_integer_layer GF_FLASH *layer, const TYPE *in, unsigned group, unsigned y, \
                               int16_t *rows)                                                              \
    {                                                                                                      \
        gf_window GF_FLASH *window = &layer->window;                                                       \
        const size_t columns = window->columns, size = window->rows * columns;                             \
        const unsigned step = window->stride_columns;                                                      \
        size_t tap = 0;                                                                                    \
        in += (size_t)group * layer->inputs * size;                                                        \
        for (unsigned c = 0; c < layer->inputs; c++, in += size)                                           \
            for (unsigned u = 0; u < window->kernel_rows; u++)                                             \
                for (unsigned v = 0; v < window->kernel_columns; v++, tap++) {                             \
                    const ptrdiff_t line = gf_tapped_line(window, y, u);                                   \
                    size_t column = (size_t)v * window->dilation_columns - window->padding_columns;        \
                    int16_t *to = rows + tap / 2 * layer->row * 2 + tap % 2;                               \
                    for (unsigned x = 0; x < layer->row; x++, column += step) {                            \
                        const ptrdiff_t at = gf_tapped(line, column, columns);                             \
                        to[2 * x] = at < 0 ? 0 : (int16_t)in[at];                                          \
                    }                                                                                      \
                }                                                                                          \
        if (tap % 2)                                                                                       \
            for (unsigned x = 0; x < layer->row; x++)                                                      \
                rows[(tap / 2 * layer->row + x) * 2 + 1] = 0;                                              \
    }

GF_KERNEL void gf_weight_pairs(const int8_t *weights, size_t taps, int16_t *pairs)
{
    for (size_t t = 0; t < taps; t++)
        pairs[t] = weights[t];
    if (taps % 2)
        pairs[taps] = 0;
}

#if GF_VECTOR_BITS == 512 && defined(__AVX512BW__)
#include <immintrin.h>
#define GF_ADD_PRODUCTS(a, b) (gf_run)_mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#elif GF_VECTOR_BITS == 256 && defined(__AVX2__)
#include <immintrin.h>
#define GF_ADD_PRODUCTS(a, b) (gf_run)_mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#elif GF_VECTOR_BITS == 128 && defined(__SSE2__)
#include <emmintrin.h>
#define GF_ADD_PRODUCTS(a, b) (gf_run)_mm_madd_epi16((__m128i)(a), (__m128i)(b))
#endif

GF_KERNEL void gf_paired_sums(gf_integer_layer GF_FLASH *layer, const int16_t *rows, const int16_t *pairs, int32_t *sums)
{
    const size_t taps = (size_t)layer->inputs * layer->window.kernel_rows * layer->window.kernel_columns;
    const unsigned row = layer->row;
#ifdef GF_ADD_PRODUCTS
    typedef int32_t gf_run __attribute__((vector_size(GF_VECTOR_BITS / 8)));
    typedef int32_t gf_run_at __attribute__((vector_size(GF_VECTOR_BITS / 8), aligned(2), may_alias));
    typedef int32_t gf_pair_at __attribute__((aligned(2), may_alias));
    for (unsigned x = 0; x < row; x += (unsigned)GF_RUN(int32_t)) {
        const int16_t *at = rows + 2 * x;
        gf_run left = {0}, right = {0};
        for (size_t t = 0; t < taps; t += 2, at += 2 * row) {
            const gf_run two = (gf_run){0} + *(const gf_pair_at *)(pairs + t);
            left += GF_ADD_PRODUCTS(*(const gf_run_at *)at, two);
            right += GF_ADD_PRODUCTS(*(const gf_run_at *)(at + GF_RUN(int32_t)), two);
        }
        *(gf_run_at *)(sums + x) = left;
        *(gf_run_at *)(sums + x + GF_RUN(int32_t) / 2) = right;
    }
#else
    for (unsigned x = 0; x < row; x++)
        sums[x] = 0;
    for (size_t t = 0; t < taps; t += 2, rows += 2 * row)
        for (unsigned x = 0; x < row; x++)
            sums[x] += (int32_t)rows[2 * x] * pairs[t] + (int32_t)rows[2 * x + 1] * pairs[t + 1];
#endif
}

/* Layer of bytes with thresholds: four products are added to a sum in one instruction, and the sums of some positions
   compared with their limits, which all are reached from below. */

typedef struct {
    gf_window window;
    uint16_t outputs, taps, quads;
    uint16_t bytes, row;        /* of one output's weights; positions of a row of the result in whole runs */
    uint8_t base, flip;         /* levels of a weight; what makes bytes of signed operands positive, or 0 */
    uint8_t levels, codes, pool;
    uint32_t GF_FLASH *places;  /* [quad][tap]: byte of the padded image that the first window reads */
    uint8_t GF_FLASH *weights;  /* [output]: digits of [tap], as many as fit a byte */
    int32_t GF_FLASH *limits;   /* [output][level] sums to be reached, less the bias and what was flipped */
} gf_quads_layer;

#define GF_QUADS_RUN 32u

/* The image with its padding. */
GF_KERNEL void gf_quads_pad(gf_quads_layer GF_FLASH *layer, const uint8_t *in, uint8_t *padded)
{
    gf_window GF_FLASH *window = &layer->window;
    const long rows = window->rows, columns = window->columns, above = window->padding_rows;
    const long before = window->padding_columns;
    for (unsigned c = 0; c < window->channels; c++, in += rows * columns)
        for (long y = -above; y < rows + above; y++)
            for (long x = -before; x < columns + before; x++) {
                const unsigned inside = y >= 0 && y < rows && x >= 0 && x < columns;
                *padded++ = (uint8_t)((inside ? in[y * columns + x] : 0u) ^ layer->flip);
            }
}

/* What one row of the result reads, from `line` of the padded image on: [quad][position], the first tap in the lowest
   byte; of 2x2 pooling four such, one for each position of a window. */
GF_KERNEL void gf_quads_rows(gf_quads_layer GF_FLASH *layer, const uint8_t *line, size_t width, uint32_t *rows)
{
    const unsigned across = layer->window.stride_columns;
    const size_t step = (size_t)across << layer->pool;
    for (unsigned part = 0; part < (layer->pool ? 4u : 1u); part++)
        for (unsigned q = 0; q < layer->quads; q++) {
            const uint8_t *from = line + part / 2 * layer->window.stride_rows * width + part % 2 * across;
            const uint8_t *a = from + layer->places[4 * q], *b = from + layer->places[4 * q + 1];
            const uint8_t *c = from + layer->places[4 * q + 2], *d = from + layer->places[4 * q + 3];
            for (unsigned x = 0; x < layer->row; x++)
                *rows++ = a[x * step] | (uint32_t)b[x * step] << 8 | (uint32_t)c[x * step] << 16
                          | (uint32_t)d[x * step] << 24;
        }
}

/* Which of a run of positions reach each limit. */
#if GF_VECTOR_BITS >= 256 && defined(__AVX512VNNI__)
#include <immintrin.h>
GF_INLINE void gf_quads_reached(gf_quads_layer GF_FLASH *layer, const uint32_t *rows, const int8_t *weights,
                                int32_t GF_FLASH *limits, uint32_t *reached)
{
    const unsigned quads = layer->quads, row = layer->row, parts = layer->pool ? 4 : 1;
    typedef int32_t gf_quad_at __attribute__((aligned(1), may_alias));
    __m512i left = _mm512_set1_epi32(INT32_MIN), right = left;
    for (unsigned part = 0; part < parts; part++) {
        __m512i first = _mm512_setzero_si512(), second = first;
        for (unsigned q = 0; q < quads; q++, rows += row) {
            const __m512i four = _mm512_set1_epi32(*(const gf_quad_at *)(weights + 4 * q));
            first = _mm512_dpbusd_epi32(first, _mm512_loadu_si512(rows), four);
            second = _mm512_dpbusd_epi32(second, _mm512_loadu_si512(rows + 16), four);
        }
        left = _mm512_max_epi32(left, first);
        right = _mm512_max_epi32(right, second);
    }
    for (unsigned k = 0; k < layer->levels; k++) {
        const __m512i limit = _mm512_set1_epi32(limits[k]);
        reached[k] = _mm512_cmpge_epi32_mask(left, limit) | (uint32_t)_mm512_cmpge_epi32_mask(right, limit) << 16;
    }
}
#else
GF_INLINE void gf_quads_reached(gf_quads_layer GF_FLASH *layer, const uint32_t *rows, const int8_t *weights,
                                int32_t GF_FLASH *limits, uint32_t *reached)
{
    const unsigned quads = layer->quads, row = layer->row, parts = layer->pool ? 4 : 1;
    for (unsigned k = 0; k < layer->levels; k++)
        reached[k] = 0;
    for (unsigned x = 0; x < GF_QUADS_RUN; x++) {
        const uint32_t *at = rows + x;
        int32_t most = INT32_MIN;
        for (unsigned part = 0; part < parts; part++) {
            int32_t sum = 0;
            for (unsigned q = 0; q < quads; q++, at += row)
                for (unsigned i = 0; i < 4; i++)
                    sum += (int32_t)(*at >> (8 * i) & 255u) * weights[4 * q + i];
            most = sum > most ? sum : most;
        }
        for (unsigned k = 0; k < layer->levels; k++)
            reached[k] |= (uint32_t)(most >= limits[k]) << x;
    }
}
#endif

GF_KERNEL void gf_quads_run(gf_quads_layer GF_FLASH *layer, const uint8_t *in, gf_unit *out, uint8_t *padded,
                            int8_t *weights, uint32_t *rows)
{
    gf_window GF_FLASH *window = &layer->window;
    const unsigned taps = layer->taps, room = 4u * layer->quads, pool = layer->pool;
    const unsigned high = window->out_rows >> pool, wide = window->out_columns >> pool;
    const size_t units = ((size_t)high * wide + GF_UNIT_BITS - 1) / GF_UNIT_BITS;
    const size_t width = window->columns + 2u * window->padding_columns;
    for (unsigned o = 0; o < layer->outputs; o++) {
        gf_weights(layer->weights + (size_t)o * layer->bytes, layer->base, taps, weights + (size_t)o * room);
        for (unsigned t = taps; t < room; t++)
            weights[(size_t)o * room + t] = 0;
    }
    gf_quads_pad(layer, in, padded);
    rows += (0u - (uintptr_t)rows) % 64 / 4; /* no vector of them across two lines of the cache */
    for (unsigned y = 0; y < high; y++) {
        gf_quads_rows(layer, padded + ((size_t)y << pool) * window->stride_rows * width, width, rows);
        for (unsigned o = 0; o < layer->outputs; o++)
            for (unsigned x = 0; x < wide; x += GF_QUADS_RUN) {
                const unsigned count = wide - x < GF_QUADS_RUN ? wide - x : GF_QUADS_RUN;
                gf_unit *plane = out + (size_t)o * layer->codes * units;
                uint32_t reached[(1 << GF_MAX_CODES) - 1];
                gf_quads_reached(layer, rows + x, weights + (size_t)o * room,
                                 layer->limits + (size_t)o * layer->levels, reached);
                for (unsigned p = 0; p < layer->codes; p++, plane += units) {
                    uint32_t bits = 0;
                    for (unsigned k = (1u << p) - 1; k < layer->levels; k += 1u << p)
                        bits ^= reached[k];
                    gf_put_run(plane, (size_t)y * wide + x, count, bits);
                }
            }
    }
}

/* Matrix-vector product of plain integers: one output. */
#define GF_DEFINE_INTEGER_DOT(NAME, TYPE, SUM)                                                             \
    GF_KERNEL SUM NAME(const int8_t *weights, const TYPE *in, unsigned inputs)                             \
    {                                                                                                      \
        SUM sum = 0;                                                                                       \
        for (unsigned i = 0; i < inputs; i++)                                                              \
            sum += (SUM)weights[i] * (SUM)in[i];                                                           \
        return sum;                                                                                        \
    }

/* Matrix-vector product with few weights that are not 0: per output a list of the zeros in front of each.

   An entry is 2 * gap + (1 below 0), or 254 for 127 zeros and no weight. Weights of more than three levels
   have magnitudes of their own. Lists belong to `blocks` x `blocks` blocks of the matrix; a quaternion's four
   components stand for sixteen blocks, which take them with the component and sign of `layout`. */

typedef struct {
    uint16_t inputs, outputs;         /* of one block */
    uint16_t blocks;                  /* 1, or 4 for quaternions */
    uint16_t GF_FLASH *starts;        /* [component][output], and the end */
    uint8_t GF_FLASH *entries;
    uint8_t GF_FLASH *magnitudes;     /* of each weight that is not 0, or NULL where all are 1 */
    uint16_t GF_FLASH *first;         /* [component][output]: its first magnitude */
    uint8_t GF_FLASH *layout;         /* [block row][block column]: 2 * component + (1 if negated) */
} gf_listed_layer;

#define GF_DEFINE_LISTED(NAME, TYPE, SUM)                                                                  \
    GF_KERNEL SUM NAME(gf_listed_layer GF_FLASH *layer, const TYPE *in, unsigned output)                   \
    {                                                                                                      \
        const unsigned row = output / layer->outputs, o = output % layer->outputs;                         \
        SUM total = 0;                                                                                     \
        for (unsigned block = 0; block < layer->blocks; block++, in += layer->inputs) {                    \
            const unsigned which = layer->layout[row * layer->blocks + block];                             \
            const unsigned list = (which >> 1) * layer->outputs + o, end = layer->starts[list + 1];        \
            const TYPE *at = in;                                                                           \
            unsigned magnitude = layer->magnitudes ? layer->first[list] : 0;                               \
            SUM sum = 0;                                                                                   \
            for (unsigned i = layer->starts[list]; i < end; i++) {                                         \
                const unsigned entry = layer->entries[i];                                                  \
                SUM value;                                                                                 \
                at += entry >> 1;                                                                          \
                if (entry == 254)                                                                          \
                    continue;                                                                              \
                value = (SUM)*at++;                                                                        \
                if (layer->magnitudes)                                                                     \
                    value *= layer->magnitudes[magnitude++];                                               \
                sum += entry & 1u ? -value : value;                                                        \
            }                                                                                              \
            total += which & 1u ? -sum : sum;                                                              \
        }                                                                                                  \
        return total;                                                                                      \
    }

#endif /* GF_TYPES_ONLY */

#endif

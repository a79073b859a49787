/* The few AVX-512 intrinsics of gatefold_kernels.h in plain C, so that the code between them is tested on
   machines that lack the instructions. Not for speed, and no substitute for a run on such a machine. Types and
   the intrinsics of narrower vectors are the compiler's own, which is not to think that it has wider ones. */
#ifndef SHIM_AVX512
#define SHIM_AVX512
#undef __AVX512F__
#undef __AVX512VPOPCNTDQ__
#undef __AVX512BW__
#undef __AVX512VBMI__
#undef __AVX512VNNI__
#include_next <immintrin.h>
#define __AVX512F__ 1
#define __AVX512VPOPCNTDQ__ 1
#define __AVX512BW__ 1
#define __AVX512VBMI__ 1
#define __AVX512VNNI__ 1
#include <stdint.h>

typedef long long shim_m512i_at __attribute__((vector_size(64), aligned(1), may_alias));
typedef int8_t shim_sixty_four __attribute__((vector_size(64), may_alias));
typedef int16_t shim_thirty_two __attribute__((vector_size(64), may_alias));
typedef int32_t shim_sixteen __attribute__((vector_size(64), may_alias));

#define _mm512_setzero_si512() ((__m512i){0})
#define _mm512_set1_epi64(value) ((__m512i){0} + (value))
#define _mm512_set1_epi32(value) ((__m512i)((shim_sixteen){0} + (int32_t)(value)))
#define _mm512_loadu_si512(at) (*(const shim_m512i_at *)(at))
#define _mm512_storeu_si512(at, value) (*(shim_m512i_at *)(at) = (value))
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_or_si512(a, b) ((a) | (b))
#define _mm512_xor_si512(a, b) ((a) ^ (b))
#define _mm512_add_epi64(a, b) ((a) + (b))
#define _mm512_add_epi32(a, b) ((__m512i)((shim_sixteen)(a) + (shim_sixteen)(b)))
#define _mm512_slli_epi64(a, count) ((a) << (int)(count))
#define _mm512_set1_epi8(value) ((__m512i)((shim_sixty_four){0} + (int8_t)(value)))
#define _mm512_add_epi8(a, b) ((__m512i)((shim_sixty_four)(a) + (shim_sixty_four)(b)))
#define _mm512_test_epi8_mask(a, b) shim_tested(a, b)
#define _mm512_maskz_set1_epi8(mask, value) shim_chosen(mask, value)
#define _mm512_permutexvar_epi8(index, table) shim_looked_up(index, table)
/* of the tables that are used: the sum of three bits and its carry, a choice, and what is kept of a difference */
#define _mm512_ternarylogic_epi64(a, b, c, table)                  \
    ((table) == 0x96   ? (a) ^ (b) ^ (c)                           \
     : (table) == 0xe8 ? ((a) & (b)) | (((a) ^ (b)) & (c))         \
     : (table) == 0xca ? ((a) & (b)) | (~(a) & (c))                \
                       : ((a) ^ (b)) & (c))
#define _mm512_popcnt_epi64(words) shim_popcounts(words)
#define _mm512_madd_epi16(a, b) shim_pair_sums(a, b)
#define _mm512_dpbusd_epi32(sums, a, b) shim_quad_sums(sums, a, b)
#define _mm512_max_epi32(a, b) shim_larger(a, b)
#define _mm512_cvtepi64_epi32(words) shim_low_halves(words)
#define _mm512_cvtepi16_epi32(words) shim_widened(words)
#define _mm512_castsi256_si512(words) ((__m512i){(words)[0], (words)[1], (words)[2], (words)[3]})
#define _mm512_inserti64x4(a, b, at) \
    ((__m512i){(a)[0], (a)[1], (a)[2], (a)[3], (b)[0], (b)[1], (b)[2], (b)[3]})
#define _mm512_cmpge_epi32_mask(a, b) shim_reached(a, b)

static inline uint64_t shim_tested(__m512i a, __m512i b)
{
    const shim_sixty_four both = (shim_sixty_four)(a & b);
    uint64_t mask = 0;
    for (int i = 0; i < 64; i++)
        mask |= (uint64_t)(both[i] != 0) << i;
    return mask;
}

static inline __m512i shim_chosen(uint64_t mask, int8_t value)
{
    shim_sixty_four chosen;
    for (int i = 0; i < 64; i++)
        chosen[i] = mask >> i & 1 ? value : 0;
    return (__m512i)chosen;
}

static inline __m512i shim_looked_up(__m512i index, __m512i table)
{
    const shim_sixty_four at = (shim_sixty_four)index, from = (shim_sixty_four)table;
    shim_sixty_four found;
    for (int i = 0; i < 64; i++)
        found[i] = from[at[i] & 63];
    return (__m512i)found;
}

static inline __m512i shim_pair_sums(__m512i a, __m512i b)
{
    const shim_thirty_two left = (shim_thirty_two)a, right = (shim_thirty_two)b;
    shim_sixteen sums;
    for (int i = 0; i < 16; i++)
        sums[i] = left[2 * i] * right[2 * i] + left[2 * i + 1] * right[2 * i + 1];
    return (__m512i)sums;
}

static inline __m512i shim_quad_sums(__m512i given, __m512i a, __m512i b)
{
    const shim_sixty_four left = (shim_sixty_four)a, right = (shim_sixty_four)b;
    shim_sixteen sums = (shim_sixteen)given;
    for (int i = 0; i < 64; i++)
        sums[i / 4] += (uint8_t)left[i] * right[i];
    return (__m512i)sums;
}

static inline __m512i shim_larger(__m512i a, __m512i b)
{
    shim_sixteen left = (shim_sixteen)a, right = (shim_sixteen)b;
    for (int i = 0; i < 16; i++)
        left[i] = left[i] > right[i] ? left[i] : right[i];
    return (__m512i)left;
}

static inline __m512i shim_popcounts(__m512i words)
{
    for (int i = 0; i < 8; i++)
        words[i] = __builtin_popcountll((unsigned long long)words[i]);
    return words;
}

static inline __m256i shim_low_halves(__m512i words)
{
    union { int32_t half[8]; __m256i all; } found;
    for (int i = 0; i < 8; i++)
        found.half[i] = (int32_t)words[i];
    return found.all;
}

static inline __m512i shim_widened(__m256i words)
{
    union { int16_t half[16]; __m256i all; } given = {.all = words};
    shim_sixteen found;
    for (int i = 0; i < 16; i++)
        found[i] = given.half[i];
    return (__m512i)found;
}

static inline uint16_t shim_reached(__m512i a, __m512i b)
{
    const shim_sixteen left = (shim_sixteen)a, right = (shim_sixteen)b;
    unsigned found = 0;
    for (int i = 0; i < 16; i++)
        found |= (unsigned)(left[i] >= right[i]) << i;
    return (uint16_t)found;
}
#endif

/* The few AVX-512 intrinsics of gatefold_kernels.h in plain C, so that the code between them is tested on
   machines that lack the instructions. Not for speed, and no substitute for a run on such a machine. */
#include <stdint.h>

typedef long long __m512i __attribute__((vector_size(64)));
typedef long long gf_m512i_at __attribute__((vector_size(64), aligned(1), may_alias));

#define _mm512_setzero_si512() ((__m512i){0})
#define _mm512_set1_epi64(value) ((__m512i){0} + (value))
#define _mm512_loadu_si512(at) (*(const gf_m512i_at *)(at))
#define _mm512_storeu_si512(at, value) (*(gf_m512i_at *)(at) = (value))
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_xor_si512(a, b) ((a) ^ (b))
#define _mm512_add_epi64(a, b) ((a) + (b))
#define _mm512_slli_epi64(a, count) ((a) << (int)(count))

static inline __m512i _mm512_popcnt_epi64(__m512i words)
{
    for (int i = 0; i < 8; i++)
        words[i] = __builtin_popcountll((unsigned long long)words[i]);
    return words;
}

/* The operations over float, LANES at a time (4, 8 or 16, given by -DLANES) and, as real_…, one at a time with the
   bits of one lane. Nothing is included and nothing of libc is called. Contraction is off, so what is rounded once
   is written vec_mac. A comparison gives all ones (-1) or 0 in each lane. */

typedef float real;
typedef int integer;
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int ints __attribute__((vector_size(4 * LANES), may_alias));
typedef ints mask;
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef int ints_anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef unsigned long long word;

#define INLINE static inline __attribute__((always_inline, unused))
#define real_infinity __builtin_inff()

/* Loads and stores: …_at needs no alignment beyond that of one element. */
INLINE vec vec_load(const real *from) { return *(const vec *)from; }
INLINE vec vec_load_at(const real *from) { return *(const vec_anywhere *)from; }
INLINE void vec_store(real *to, vec a) { *(vec *)to = a; }
INLINE void vec_store_at(real *to, vec a) { *(vec_anywhere *)to = a; }
INLINE ints ints_load(const integer *from) { return *(const ints *)from; }
INLINE ints ints_load_at(const integer *from) { return *(const ints_anywhere *)from; }
INLINE void ints_store(integer *to, ints a) { *(ints *)to = a; }
INLINE void ints_store_at(integer *to, ints a) { *(ints_anywhere *)to = a; }
INLINE vec vec_splat(real a) { return (vec){} + a; }
INLINE ints ints_splat(integer a) { return (ints){} + a; }

/* Arithmetic. */
INLINE vec vec_add(vec a, vec b) { return a + b; }
INLINE vec vec_sub(vec a, vec b) { return a - b; }
INLINE vec vec_mul(vec a, vec b) { return a * b; }
INLINE vec vec_div(vec a, vec b) { return a / b; }
INLINE real real_add(real a, real b) { return a + b; }
INLINE real real_sub(real a, real b) { return a - b; }
INLINE real real_mul(real a, real b) { return a * b; }
INLINE real real_div(real a, real b) { return a / b; }

/* a·b + sum, rounded once. */
#if defined(__FMA__) || defined(__aarch64__) || defined(__FP_FAST_FMAF)
#define FUSED 1
INLINE real real_mac(real a, real b, real sum) { return __builtin_fmaf(a, b, sum); }
#else
#define FUSED 0
/* In double the product is exact and the sum p + c has the error `rest`. A sum rounded to odd (where it is inexact its
   last bit is set) has enough bits left that rounding it to float rounds the exact sum (Boldo, Melquiond 2008). */
INLINE real real_mac(real a, real b, real sum) {
  union { double value; word bits; } s, rest;
  double p = (double)a * b, c = sum, t;
  s.value = p + c;
  t = s.value - p;
  rest.value = (p - (s.value - t)) + (c - t);
  if ((rest.value > 0 || rest.value < 0) && !(s.bits & 1))
    s.bits += (rest.bits ^ s.bits) >> 63 ? -1 : 1;
  return (real)s.value;
}
#endif

/* The square root, correctly rounded, and x to the power −1/2. */
INLINE real real_root(real a) { return __builtin_sqrtf(a); }
INLINE real real_inverse_root(real a) { return 1 / real_root(a); }

/* Both at full width: what gcc has for each width, what clang has for all, else lane by lane. */
#if FUSED && defined(__clang__) && __has_builtin(__builtin_elementwise_fma)
#define FMA(a, b, c) __builtin_elementwise_fma(a, b, c)
#define SQRT(a) __builtin_elementwise_sqrt(a)
#elif !defined(__clang__) && LANES == 16 && defined(__AVX512F__)
#define FMA(a, b, c) __builtin_ia32_vfmaddps512_mask(a, b, c, (unsigned short)-1, 4)
#define SQRT(a) __builtin_ia32_sqrtps512_mask(a, a, (unsigned short)-1, 4)
#elif !defined(__clang__) && LANES == 8 && defined(__FMA__)
#define FMA(a, b, c) __builtin_ia32_vfmaddps256(a, b, c)
#define SQRT(a) __builtin_ia32_sqrtps256(a)
#elif !defined(__clang__) && LANES == 4 && defined(__FMA__)
#define FMA(a, b, c) __builtin_ia32_vfmaddps(a, b, c)
#define SQRT(a) __builtin_ia32_sqrtps(a)
#endif
INLINE vec vec_mac(vec a, vec b, vec sum) {
#ifdef FMA
  return (vec)FMA(a, b, sum);
#else
  vec result;
  for (int i = 0; i < LANES; i++) result[i] = real_mac(a[i], b[i], sum[i]);
  return result;
#endif
}
INLINE vec vec_root(vec a) {
#ifdef SQRT
  return (vec)SQRT(a);
#else
  vec result;
  for (int i = 0; i < LANES; i++) result[i] = real_root(a[i]);
  return result;
#endif
}
INLINE vec vec_inverse_root(vec a) { return 1 / vec_root(a); }

/* Comparisons and choices. */
INLINE vec vec_select(mask m, vec a, vec b) { return (vec)((m & (ints)a) | (~m & (ints)b)); }
INLINE ints ints_select(mask m, ints a, ints b) { return (m & a) | (~m & b); }
INLINE mask ints_equal(ints a, ints b) { return a == b; }
INLINE real real_select(integer m, real a, real b) { return m ? a : b; }
/* The order of maxima: a NaN is above every number, so that the first one stays, as in NumPy. */
INLINE mask vec_greater(vec a, vec b) { return ~(mask)(a <= b) & (mask)(b == b); }
INLINE integer real_greater(real a, real b) { return !(a <= b) && b == b ? -1 : 0; }

/* The sum of the lanes: the upper half is added to the lower until one is left. */
INLINE real vec_hsum(vec a) {
  real part[LANES];
  vec_store_at(part, a);
  for (int width = LANES / 2; width; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

/* Conversions; to integers towards zero, of what an integer holds. */
INLINE vec vec_from_ints(ints a) { return __builtin_convertvector(a, vec); }
INLINE ints ints_from_vec(vec a) { return __builtin_convertvector(a, ints); }
INLINE real real_from_integer(integer a) { return (real)a; }
INLINE integer integer_from_real(real a) { return (integer)a; }

/* The functions of the catalogue that are piecewise. The first argument wins a tie; NaN gives NaN, save in step. */
INLINE vec vec_step(vec x) { return (vec)((mask)(x > 0) & (ints)vec_splat(1)); }
INLINE vec vec_relu(vec x) { return (vec)(~(mask)(x <= 0) & (ints)x); }
INLINE vec vec_sign(vec x) { return vec_select(x == x, vec_step(x) - vec_step(-x), x); }
INLINE vec vec_abs(vec x) { return (vec)((ints)x & 0x7fffffff); }
INLINE vec vec_max(vec x, vec y) { return vec_select(vec_greater(y, x), y, x); }
INLINE vec vec_min(vec x, vec y) { return vec_select(~(mask)(y >= x) & (mask)(x == x), y, x); }
INLINE real real_step(real x) { return x > 0 ? 1 : 0; }
INLINE real real_relu(real x) { return x <= 0 ? 0 : x; }
INLINE real real_sign(real x) { return x == x ? real_step(x) - real_step(-x) : x; }
INLINE real real_abs(real x) { return __builtin_fabsf(x); }
INLINE real real_max(real x, real y) { return real_greater(y, x) ? y : x; }
INLINE real real_min(real x, real y) { return !(y >= x) && x == x ? y : x; }

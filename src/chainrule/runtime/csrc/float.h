/* The operations over float. A vec has LANES lanes (4, 8 or 16, given by -DLANES); a name that ends in 1 is the same
   operation on one number, with the bits of one lane. Nothing is included and nothing of libc is called. Contraction
   is off, so what is rounded once is written mac. */

typedef float real;
typedef int whole; /* a whole number in memory */
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int ints __attribute__((vector_size(4 * LANES), may_alias));
typedef ints mask; /* each lane all ones, or 0 */
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef int ints_anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef unsigned long long word;

#define INLINE static inline __attribute__((always_inline, unused))
#define number(in_floats, in_the_field) ((real)(in_floats))
/* In a loop: it stays as it is written. The compiler vectorises loops over single numbers, and gcc 12 does it wrongly where
   whole numbers of 64 bits choose between floats, for AVX-512. */
#define AS_WRITTEN __asm__("")
#define SIGN (-0x7fffffff - 1)

/* f(n, w) for every lane n. */
#define EACH_4(f, n, w) f((n), w), f((n + 1), w), f((n + 2), w), f((n + 3), w)
#define EACH_8(f, n, w) EACH_4(f, n, w), EACH_4(f, n + 4, w)
#if LANES == 4
#define EACH_LANE(f, w) EACH_4(f, 0, w)
#elif LANES == 8
#define EACH_LANE(f, w) EACH_8(f, 0, w)
#else
#define EACH_LANE(f, w) EACH_8(f, 0, w), EACH_8(f, 8, w)
#endif
#define LANE(n, w) n
#define VALUE(n, w) w

/* Gcc has a builtin for each width; clang has some for all; elsewhere there are loops. */
#if !defined(__clang__) && LANES == 16 && defined(__AVX512F__)
#define BUILTIN(of_16, of_8, of_4) of_16
#elif !defined(__clang__) && LANES == 8 && defined(__AVX2__) && defined(__FMA__)
#define BUILTIN(of_16, of_8, of_4) of_8
#elif !defined(__clang__) && LANES == 4 && defined(__AVX2__) && defined(__FMA__)
#define BUILTIN(of_16, of_8, of_4) of_4
#endif
#ifdef __clang__
#define HAS(builtin) __has_builtin(builtin)
#else
#define HAS(builtin) 0
#endif
#define LOWEST_BITS(k) (unsigned short)((k) < 16 ? (1u << (k)) - 1 : 0xffffu)

INLINE vec splat(real a) { return (vec){EACH_LANE(VALUE, a)}; } /* a sum with 0 would lose −0 */
INLINE ints splat_ints(int a) { return (ints){EACH_LANE(VALUE, a)}; }
INLINE mask splat_mask(int a) { return splat_ints(-(a != 0)); }
INLINE real size_of_samples(long n) { return (real)n; }
INLINE ints numbered(void) { return (ints){EACH_LANE(LANE, 0)}; }
INLINE int inside(long position, long extent) { return position >= 0 && position < extent; }
INLINE mask live(long k) { return (ints){EACH_LANE(LANE, 0)} < (int)(k < LANES ? k : LANES); }

/* Memory. Of a part, lanes from k on are neither read nor written, and read as 0. */
INLINE vec load(const real *from) { return *(const vec_anywhere *)from; }
INLINE void store(real *to, vec a) { *(vec_anywhere *)to = a; }
INLINE vec held(vec a) { /* in a register from here on */
#if defined(__x86_64__) && defined(__AVX512F__)
  __asm__("" : "+v"(a));
#elif defined(__x86_64__) && LANES <= 8
  __asm__("" : "+x"(a));
#elif defined(__aarch64__)
  __asm__("" : "+w"(a));
#endif
  return a;
}
INLINE ints load_ints(const whole *from) { return *(const ints_anywhere *)from; }
INLINE void store_ints(whole *to, ints a) { *(ints_anywhere *)to = a; }
INLINE vec load_part(const real *from, long k) {
#ifdef BUILTIN
  return (vec)BUILTIN(__builtin_ia32_loadups512_mask(from, (vec){}, LOWEST_BITS(k)),
                      __builtin_ia32_maskloadps256((const void *)from, live(k)),
                      __builtin_ia32_maskloadps((const void *)from, live(k)));
#else
  vec a = {};
  for (int i = 0; i < LANES && i < k; i++) a[i] = from[i];
  return a;
#endif
}
INLINE void store_part(real *to, vec a, long k) {
#ifdef BUILTIN
  BUILTIN(__builtin_ia32_storeups512_mask(to, a, LOWEST_BITS(k)),
          __builtin_ia32_maskstoreps256((void *)to, live(k), a), __builtin_ia32_maskstoreps((void *)to, live(k), a));
#else
  for (int i = 0; i < LANES && i < k; i++) to[i] = a[i];
#endif
}
INLINE ints load_part_ints(const whole *from, long k) {
#ifdef BUILTIN
  return (ints)load_part((const void *)from, k);
#else
  ints a = {};
  for (int i = 0; i < LANES && i < k; i++) a[i] = from[i];
  return a;
#endif
}
INLINE void store_part_ints(whole *to, ints a, long k) {
#ifdef BUILTIN
  store_part((void *)to, (vec)a, k);
#else
  for (int i = 0; i < LANES && i < k; i++) to[i] = a[i];
#endif
}
INLINE vec gather(const real *from, ints index, long stride) {
  vec a;
  for (int i = 0; i < LANES; i++) a[i] = from[index[i] * stride];
  return a;
}

/* LANES × LANES in place: first in each block of 4 × 4, then the blocks change places. Lane n of the result of MIX is
   the one numbered f(n, w) of both vectors in a row. */
#ifdef __clang__
#define MIX(a, b, f, w) __builtin_shufflevector(a, b, EACH_LANE(f, w))
#else
#define MIX(a, b, f, w) __builtin_shuffle(a, b, (ints){EACH_LANE(f, w)})
#endif
#define ALTERNATE(n, w) (n & ~3) + ((n & 3) >> 1) + (n & 1) * LANES + w
#define PAIRS(n, w) (n & ~3) + (n & 1) + ((n & 3) >> 1) * LANES + w
#define FIRST_BLOCKS(n, w) n + (n & w ? LANES - w : 0)
#define SECOND_BLOCKS(n, w) n + (n & w ? LANES : w)
#define EXCHANGE(w)                                       \
  _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) \
    if (!(i & w)) {                                        \
      vec a = rows[i], b = rows[i + w];                    \
      rows[i] = MIX(a, b, FIRST_BLOCKS, w);                \
      rows[i + w] = MIX(a, b, SECOND_BLOCKS, w);           \
    }
INLINE void transpose(vec rows[LANES]) {
  _Pragma("GCC unroll 4") for (int i = 0; i < LANES; i += 4) {
    vec a = MIX(rows[i], rows[i + 1], ALTERNATE, 0), b = MIX(rows[i], rows[i + 1], ALTERNATE, 2);
    vec c = MIX(rows[i + 2], rows[i + 3], ALTERNATE, 0), d = MIX(rows[i + 2], rows[i + 3], ALTERNATE, 2);
    rows[i] = MIX(a, c, PAIRS, 0);
    rows[i + 1] = MIX(a, c, PAIRS, 2);
    rows[i + 2] = MIX(b, d, PAIRS, 0);
    rows[i + 3] = MIX(b, d, PAIRS, 2);
  }
#if LANES > 4
  EXCHANGE(4)
#endif
#if LANES > 8
  EXCHANGE(8)
#endif
}

/* Arithmetic. */
INLINE vec add(vec a, vec b) { return a + b; }
INLINE vec sub(vec a, vec b) { return a - b; }
INLINE vec mul(vec a, vec b) { return a * b; }
INLINE vec div(vec a, vec b) { return a / b; }
INLINE vec neg(vec a) { return -a; }
INLINE real add1(real a, real b) { return a + b; }
INLINE real sub1(real a, real b) { return a - b; }
INLINE real mul1(real a, real b) { return a * b; }
INLINE real div1(real a, real b) { return a / b; }
INLINE real neg1(real a) { return -a; }

/* a·b + sum, rounded once. */
#if defined(__FMA__) || defined(__aarch64__) || defined(__FP_FAST_FMAF)
#define FUSED 1
INLINE real mac1(real a, real b, real sum) { return __builtin_fmaf(a, b, sum); }
#else
#define FUSED 0
/* In double the product is exact and the sum p + c has the error `rest`. A sum rounded to odd (where it is inexact its
   last bit is set) has enough bits left that rounding it to float rounds the exact sum (Boldo, Melquiond 2008). */
INLINE real mac1(real a, real b, real sum) {
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
INLINE vec mac(vec a, vec b, vec sum) {
#if defined(BUILTIN)
  return (vec)BUILTIN(__builtin_ia32_vfmaddps512_mask(a, b, sum, LOWEST_BITS(16), 4),
                      __builtin_ia32_vfmaddps256(a, b, sum), __builtin_ia32_vfmaddps(a, b, sum));
#elif FUSED && HAS(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, sum);
#else
  vec result;
  for (int i = 0; i < LANES; i++) result[i] = mac1(a[i], b[i], sum[i]);
  return result;
#endif
}

/* Correctly rounded. */
INLINE real square_root1(real a) { return __builtin_sqrtf(a); }
INLINE vec square_root(vec a) {
#ifdef BUILTIN
  return (vec)BUILTIN(__builtin_ia32_sqrtps512_mask(a, a, LOWEST_BITS(16), 4), __builtin_ia32_sqrtps256(a),
                      __builtin_ia32_sqrtps(a));
#else
  vec result;
  for (int i = 0; i < LANES; i++) result[i] = square_root1(a[i]);
  return result;
#endif
}

INLINE real reciprocal_root1(real a) { return 1 / square_root1(a); }
INLINE vec reciprocal_root(vec a) { return 1 / square_root(a); }

/* The sum of the lanes: the upper half is added to the lower until one is left. Halves that change places are quicker
   than a turn of all lanes. */
#define OTHER_HALF(n, w) (n) ^ (w)
INLINE real hsum(vec a) {
#if LANES > 8
  a += MIX(a, a, OTHER_HALF, 8);
#endif
#if LANES > 4
  a += MIX(a, a, OTHER_HALF, 4);
#endif
  a += MIX(a, a, OTHER_HALF, 2);
  a += MIX(a, a, OTHER_HALF, 1);
  return a[0];
}

/* Comparisons and choices. `better` is the order of maxima: a NaN beats all but a NaN, so that the first one stays, as
   in NumPy. */
INLINE mask greater(vec a, vec b) { return a > b; }
INLINE mask better(vec a, vec b) { return ~(mask)(a <= b) & (mask)(b == b); }
INLINE mask same(ints a, ints b) { return a == b; }
INLINE mask before(ints a, ints b) { return a < b; }
INLINE mask both(mask a, mask b) { return a & b; }
INLINE mask either(mask a, mask b) { return a | b; }
/* For AVX-512 gcc makes one blend, or less, of a loop over the lanes (from version 12 on), and of bits two operations. */
#if defined(__AVX512F__) && !defined(__clang__) && __GNUC__ >= 12
#define CHOOSE(type, m, a, b)                                  \
  type chosen;                                                 \
  for (int i = 0; i < LANES; i++) chosen[i] = m[i] ? a[i] : b[i]; \
  return chosen
#else
#define CHOOSE(type, m, a, b) return (type)((m & (ints)a) | (~m & (ints)b))
#endif
INLINE vec select(mask m, vec a, vec b) { CHOOSE(vec, m, a, b); }
INLINE ints select_ints(mask m, ints a, ints b) { CHOOSE(ints, m, a, b); }
/* The first where it is above (below) the second, else the second, also where one is NaN. */
INLINE vec larger(vec a, vec b) {
#ifdef BUILTIN
  return (vec)BUILTIN(__builtin_ia32_maxps512_mask(a, b, a, LOWEST_BITS(16), 4), __builtin_ia32_maxps256(a, b),
                      __builtin_ia32_maxps(a, b));
#else
  return select(a > b, a, b);
#endif
}
INLINE vec smaller(vec a, vec b) {
#ifdef BUILTIN
  return (vec)BUILTIN(__builtin_ia32_minps512_mask(a, b, a, LOWEST_BITS(16), 4), __builtin_ia32_minps256(a, b),
                      __builtin_ia32_minps(a, b));
#else
  return select(a < b, a, b);
#endif
}
INLINE int greater1(real a, real b) { return a > b; }
INLINE int better1(real a, real b) { return !(a <= b) && b == b; }
INLINE real lowest(void) { return -__builtin_inff(); } /* what any other number beats */

/* The functions of the catalogue that are piecewise. The first argument wins a tie; NaN gives NaN, save in step. */
INLINE vec step_(vec x) { return (vec)((mask)(x > 0) & (ints)splat(1)); }
INLINE vec relu_(vec x) { return larger(splat(0), x); }
INLINE vec sign_(vec x) { return select(x == x, step_(x) - step_(-x), x); }
INLINE vec abs_(vec x) { return (vec)((ints)x & ~SIGN); }
INLINE vec max_(vec x, vec y) { return select(y == y, larger(y, x), y); }
INLINE vec min_(vec x, vec y) { return select(y == y, smaller(y, x), y); }
INLINE real step_1(real x) { return x > 0 ? 1 : 0; }
INLINE real relu_1(real x) { return 0 > x ? 0 : x; }
INLINE real sign_1(real x) { return x == x ? step_1(x) - step_1(-x) : x; }
INLINE real abs_1(real x) { return __builtin_fabsf(x); }
INLINE real max_1(real x, real y) { return better1(y, x) ? y : x; }
INLINE real min_1(real x, real y) { return !(y >= x) && x == x ? y : x; }
INLINE int finite1(real a) { return a - a == 0; }

/* The same operations over GF(p), p = 2^61 − 1: sums, products and quotients are exact, and the functions that no field
   has are keyed pseudo-random values, as in chainrule/semantics/field.py and prime.py. For checking that the loops
   compute what they are meant to; fast it need not be. */

typedef unsigned long long word;
typedef word real;
typedef long long whole; /* a whole number in memory */
typedef struct { word lane[LANES]; } vec;
typedef long long ints __attribute__((vector_size(8 * LANES), may_alias));
typedef ints mask; /* each lane all ones, or 0 */

/* Compiling is what costs: without optimisation an operation is code once, and one that nothing calls is none. */
#define INLINE static inline __attribute__((unused))
#define number(in_floats, in_the_field) ((real)(in_the_field))
#define AS_WRITTEN (void)0 /* numbers are of one width here */
#define PRIME 0x1fffffffffffffffull
#define LOWEST (~0ull) /* no field element; any of them beats it */

/* The keys, 128 bits each, and for those of powers the fraction that they belong to; Python gives them. */
enum { RANK, POSITION, ENTRY, LOGSUMEXP, EXP, EXPM1, LOG, SIGMOID, TANH, SOFTPLUS, ERFC, STEP, SIGN, PI, E, POWERS };
static struct { long long numerator, denominator; word low, high; } keys[64];
static long number_of_keys;
__attribute__((visibility("default"))) int chainrule_set_keys(const void *rows, long count) {
  if (count < POWERS || count > 64) return 0;
  for (long i = 0; i < 4 * count; i++) ((word *)keys)[i] = ((const word *)rows)[i];
  number_of_keys = count;
  return 1;
}

INLINE word mix(word x, long key) {
  for (int round = 0; round < 2; round++) {
    x ^= round ? keys[key].high : keys[key].low;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
  }
  return x;
}
INLINE real residue(word x) {
  x = (x & PRIME) + (x >> 61);
  return x < PRIME ? x : x - PRIME;
}
INLINE real keyed(real x, long key) { return residue(mix(x, key)); }
#define named_pi keyed(0, PI)
#define named_e keyed(0, E)

/* Arithmetic on one number; the inverse of 0 is 0. */
INLINE real add1(real a, real b) { return residue(a + b); }
INLINE real sub1(real a, real b) { return residue(a + (PRIME - b)); }
INLINE real neg1(real a) { return residue(PRIME - a); }
INLINE real mul1(real a, real b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return residue(((word)product & PRIME) + (word)(product >> 61));
}
INLINE real mac1(real a, real b, real sum) { return add1(mul1(a, b), sum); }
INLINE real whole_power(real a, word exponent) {
  real result = 1;
  for (; exponent; exponent >>= 1, a = mul1(a, a))
    if (exponent & 1) result = mul1(result, a);
  return result;
}
INLINE real div1(real a, real b) { return mul1(a, whole_power(b, PRIME - 2)); }
INLINE real size_of_samples(long n) { return (word)n % PRIME; }
INLINE int inside(long position, long extent) { return position >= 0 && position < extent; }
INLINE int finite1(real a) { return (void)a, 1; }

/* x^(k + r) = x^k·g with k whole and g keyed by x and the fraction r, which is all of root. */
INLINE real root1(real x, long n, long m) {
  for (long key = POWERS; key < number_of_keys; key++)
    if (keys[key].numerator * m == n * keys[key].denominator) return keyed(x, key);
  __builtin_trap();
}
INLINE real power1(real x, long n, long m) {
  long whole = n / m - (n % m < 0);
  return mul1(whole_power(x, whole < 0 ? (word)(whole + (long)(PRIME - 1)) : (word)whole), root1(x, n - whole * m, m));
}
INLINE real square_root1(real x) { return root1(x, 1, 2); }
INLINE real reciprocal_root1(real x) { return power1(x, -1, 2); }

/* The functions of the catalogue; the order of maxima is that of keyed ranks. */
INLINE real exp_1(real x) { return keyed(x, EXP); }
INLINE real expm1_1(real x) { return keyed(x, EXPM1); }
INLINE real log_1(real x) { return keyed(x, LOG); }
INLINE real sigmoid_1(real x) { return keyed(x, SIGMOID); }
INLINE real tanh_1(real x) { return keyed(x, TANH); }
INLINE real softplus_1(real x) { return keyed(x, SOFTPLUS); }
INLINE real erfc_1(real x) { return keyed(x, ERFC); }
INLINE real step_1(real x) { return keyed(x, STEP); }
INLINE real sign_1(real x) { return keyed(x, SIGN); }
INLINE real relu_1(real x) { return mul1(x, step_1(x)); }
INLINE real abs_1(real x) { return mul1(x, sign_1(x)); }
INLINE real max_1(real x, real y) { return mac1(sub1(y, x), step_1(sub1(y, x)), x); }
INLINE real min_1(real x, real y) { return mac1(sub1(y, x), step_1(sub1(x, y)), x); }
INLINE real lowest(void) { return LOWEST; }
INLINE word rank(real x) { return x == LOWEST ? 0 : (mix(x, RANK) >> 1) + 1; }
INLINE int better1(real a, real b) { return rank(a) > rank(b); }
INLINE int greater1(real a, real b) { return better1(a, b); }

/* logsumexp: a hash of the entries and their places. The greatest entry plays no part. */
INLINE real lse_start(void) { return 0; }
INLINE real lse_top1(real top, real x) { return (void)x, top; }
INLINE real lse_add1(real sum, real x, real top, long at) {
  return (void)top, sum + mix(x ^ mix((word)at, POSITION), ENTRY);
}
INLINE real lse_shift1(real top) { return top; } /* 0 */
INLINE real lse_rest1(real sum) { return keyed(sum, LOGSUMEXP); }

/* All of it lane by lane. */
#define EACH_VEC(value)                                  \
  vec result;                                            \
  for (int i = 0; i < LANES; i++) result.lane[i] = value; \
  return result;
#define EACH_INT(value)                             \
  ints result;                                      \
  for (int i = 0; i < LANES; i++) result[i] = value; \
  return result;
#define OF_ONE(name) INLINE vec name(vec a) { EACH_VEC(name##1(a.lane[i])) }
#define OF_TWO(name) INLINE vec name(vec a, vec b) { EACH_VEC(name##1(a.lane[i], b.lane[i])) }
OF_ONE(neg) OF_ONE(square_root) OF_ONE(reciprocal_root) OF_ONE(exp_) OF_ONE(expm1_) OF_ONE(log_) OF_ONE(sigmoid_) OF_ONE(tanh_)
OF_ONE(softplus_) OF_ONE(erfc_) OF_ONE(step_) OF_ONE(sign_) OF_ONE(relu_) OF_ONE(abs_) OF_ONE(lse_shift) OF_ONE(lse_rest)
OF_TWO(add) OF_TWO(sub) OF_TWO(mul) OF_TWO(div) OF_TWO(max_) OF_TWO(min_) OF_TWO(lse_top)
INLINE vec mac(vec a, vec b, vec sum) { EACH_VEC(mac1(a.lane[i], b.lane[i], sum.lane[i])) }
INLINE vec power(vec a, long n, long m) { EACH_VEC(power1(a.lane[i], n, m)) }
INLINE vec lse_add(vec sum, vec a, vec top, long at) { EACH_VEC(lse_add1(sum.lane[i], a.lane[i], top.lane[i], at)) }
INLINE real hsum(vec a) {
  real sum = 0;
  for (int i = 0; i < LANES; i++) sum = add1(sum, a.lane[i]);
  return sum;
}

INLINE mask better(vec a, vec b) { EACH_INT(-better1(a.lane[i], b.lane[i])) }
INLINE mask greater(vec a, vec b) { return better(a, b); }
INLINE mask same(ints a, ints b) { EACH_INT(-(a[i] == b[i])) }
INLINE mask before(ints a, ints b) { EACH_INT(-(a[i] < b[i])) }
INLINE ints numbered(void) { EACH_INT(i) }
INLINE mask live(long k) { EACH_INT(-(i < k)) }
INLINE mask both(mask a, mask b) { return a & b; }
INLINE mask either(mask a, mask b) { return a | b; }
INLINE vec select(mask m, vec a, vec b) { EACH_VEC(m[i] ? a.lane[i] : b.lane[i]) }
INLINE ints select_ints(mask m, ints a, ints b) { EACH_INT(m[i] ? a[i] : b[i]) }

INLINE vec splat(real a) { EACH_VEC(a) }
INLINE ints splat_ints(int a) { EACH_INT(a) }
INLINE mask splat_mask(int a) { EACH_INT(-(a != 0)) }
INLINE vec load_part(const real *from, long k) { EACH_VEC(i < k ? from[i] : 0) }
INLINE vec load(const real *from) { return load_part(from, LANES); }
INLINE void store_part(real *to, vec a, long k) {
  for (int i = 0; i < LANES && i < k; i++) to[i] = a.lane[i];
}
INLINE void store(real *to, vec a) { store_part(to, a, LANES); }
INLINE ints load_part_ints(const whole *from, long k) { EACH_INT(i < k ? from[i] : 0) }
INLINE vec held(vec a) { return a; }
INLINE ints load_ints(const whole *from) { return load_part_ints(from, LANES); }
INLINE void store_part_ints(whole *to, ints a, long k) {
  for (int i = 0; i < LANES && i < k; i++) to[i] = a[i];
}
INLINE void store_ints(whole *to, ints a) { store_part_ints(to, a, LANES); }
INLINE vec gather(const real *from, ints index, long stride) { EACH_VEC(from[index[i] * stride]) }
INLINE void transpose(vec rows[LANES]) {
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < i; j++) {
      real kept = rows[i].lane[j];
      rows[i].lane[j] = rows[j].lane[i];
      rows[j].lane[i] = kept;
    }
}

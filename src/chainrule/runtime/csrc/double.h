/* erfc and powers, through double: half a vector at a time, with products and sums that every machine rounds alike.
   Errors over all floats, in units in the last place (a test measures them): erfc ≤ 0.54, power ≤ 0.51. */

typedef float half __attribute__((vector_size(2 * LANES)));
typedef double wide __attribute__((vector_size(4 * LANES)));
typedef long long wide_ints __attribute__((vector_size(4 * LANES)));
typedef unsigned long long wide_words __attribute__((vector_size(4 * LANES)));
typedef union { vec whole; half part[2]; } halves;

INLINE wide wide_select(wide_ints m, wide a, wide b) { return (wide)((m & (wide_ints)a) | (~m & (wide_ints)b)); }

/* e^x for x from −300 to 300, which is 0 or infinite as a float long before; a minimax fit of degree 7. */
INLINE wide wide_exp(wide x) {
  x = wide_select(x < -300, (wide){} - 300, x);
  x = wide_select(x > 300, (wide){} + 300, x);
  wide n = x * 0x1.71547652b82fep+0 + 0x1.8p+52, r = x - (n - 0x1.8p+52) * 0x1.62e42fefa39efp-1;
  wide y = r * 0x1.9eb66e7eca9c1p-13 + 0x1.6da5775bd5e70p-10;
  y = y * r + 0x1.1112fc2134337p-7;
  y = y * r + 0x1.555467804f6b2p-5;
  y = y * r + 0x1.55555340d51eep-3;
  y = y * r + 0x1.0000005a54c1dp-1;
  y = y * r + 0x1.000000010d6d4p+0;
  y = y * r + 0x1.ffffffffab11fp-1;
  return y * (wide)(((wide_ints)n + 1023) << 52);
}

/* x = 2^n·m with m from √½ to √2, and log(m) = 2·artanh(s), s = (m − 1)/(m + 1); a minimax fit of degree 9. */
INLINE wide wide_log(wide x) {
  wide_words n = ((wide_words)x - 0x3fe6a09e667f3bcd + (1023ull << 52)) >> 52; /* and 1023 more */
  wide m = (wide)((wide_words)x - ((n - 1023) << 52)), s = (m - 1) / (m + 1), t = s * s;
  wide y = t * 0x1.e3bed005b86d1p-3 + 0x1.24325c1218692p-2;
  y = y * t + 0x1.999a9e24e9b89p-2;
  y = y * t + 0x1.555554d9d25ccp-1;
  y = y * t + 0x1.0000000004adbp+1;
  y = y * s + ((wide)(n | 0x4330000000000000) - 0x1p+52 - 1023) * 0x1.62e42fefa39efp-1;
  y = wide_select(x < __builtin_inf(), y, x);
  y = wide_select(x == 0, (wide){} - __builtin_inf(), y);
  return wide_select(x < 0, (wide){} + __builtin_nan(""), y);
}

/* x to the power n/m, which is no integer. As in C, −∞ counts as ∞ here; other negative numbers have no power. */
INLINE half half_power(half x, double exponent) {
  wide y = __builtin_convertvector(x, wide);
  y = wide_select(y == -__builtin_inf(), -y, y);
  return __builtin_convertvector(wide_exp(wide_log(y) * exponent), half);
}
INLINE vec power(vec x, long n, long m) {
  halves y = {x};
  y.part[0] = half_power(y.part[0], (double)n / (double)m);
  y.part[1] = half_power(y.part[1], (double)n / (double)m);
  return y.whole;
}

/* erfc(|x|) = e^−x²·p((|x| − 3)/(|x| + 3))/(1 + 2|x|), p a minimax fit up to |x| = 10.2, from where erfc is 0 in
   float (after Shepherd, Laframboise, Math. Comp. 36, 1981). */
INLINE half half_erfc(half x) {
  wide a = __builtin_convertvector(x, wide), size = wide_select(a < 0, -a, a);
  size = wide_select(size > 16, (wide){} + 16, size);
  wide t = (size - 3) / (size + 3), y = t * -0x1.1828314b207f1p-12 - 0x1.96624e07c4d5ap-11;
  y = y * t + 0x1.06955cf2414a5p-9;
  y = y * t + 0x1.506771faed58cp-9;
  y = y * t - 0x1.85ea4ea55b40ep-6;
  y = y * t + 0x1.17bd48f18cbfap-4;
  y = y * t - 0x1.e8887e52c3789p-4;
  y = y * t + 0x1.098411c3aa59fp-3;
  y = y * t - 0x1.85a19a41e7a78p-5;
  y = y * t - 0x1.15c0894c14831p-3;
  y = y * t + 0x1.40c522dbf4bf5p+0;
  y = y * wide_exp(-size * size) / (1 + 2 * size);
  return __builtin_convertvector(wide_select(a < 0, 2 - y, y), half);
}
INLINE vec erfc_(vec x) {
  halves y = {x};
  y.part[0] = half_erfc(y.part[0]);
  y.part[1] = half_erfc(y.part[1]);
  return y.whole;
}

INLINE real power1(real x, long n, long m) { return power(splat(x), n, m)[0]; }
INLINE real erfc_1(real x) { return erfc_(splat(x))[0]; }

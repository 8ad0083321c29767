/* exp, expm1, sigmoid and tanh, without branches.

   e^r − 1 = r + r²·q(r) for |r| ≤ log(2)/2; q is a minimax fit of degree 4, wrong by at most 0.12 units in the last
   place of e^r − 1. */

#define LOG2E 0x1.715476p+0f
#define LOG2_HIGH 0x1.62e4p-1f
#define LOG2_LOW 0x1.7f7d1cp-20f
#define SHIFT 0x1.8p+23f /* adding it rounds to an integer, which stands in the low bits */

/* e^x = 2^n·(1 + result); the low bits of *n hold the integer n. */
INLINE vec vec_reduced_exp(vec x, vec *n) {
  *n = vec_mac(x, vec_splat(LOG2E), vec_splat(SHIFT));
  vec whole = *n - SHIFT, r = vec_mac(whole, vec_splat(-LOG2_HIGH), x);
  r = vec_mac(whole, vec_splat(-LOG2_LOW), r);
  vec q = vec_mac(vec_splat(0x1.6d722cp-10f), r, vec_splat(0x1.122680p-7f));
  q = vec_mac(q, r, vec_splat(0x1.5554c8p-5f));
  q = vec_mac(q, r, vec_splat(0x1.5554b2p-3f));
  q = vec_mac(q, r, vec_splat(0.5f));
  return vec_mac(r * r, q, r);
}

/* 2^n for n from −126 to 127; of n only the low bits count. */
INLINE vec vec_power_of_two(ints n) { return (vec)((n + 127) << 23); }

/* x within bounds; NaN stays. */
INLINE vec vec_between(vec x, real low, real high) {
  x = vec_select(x < low, vec_splat(low), x);
  return vec_select(x > high, vec_splat(high), x);
}

/* 2^n is the product of two factors, so that one rounding leads to infinity or to a denormal number. */
INLINE vec vec_exp(vec x) {
  vec n, y = 1 + vec_reduced_exp(vec_between(x, -105, 90), &n);
  ints whole = (ints)n - (ints)vec_splat(SHIFT), half = whole >> 1;
  return y * vec_power_of_two(half) * vec_power_of_two(whole - half);
}

/* 2^n·(e^r − 1) + (2^n − 1), made at half its size so that 2^n does not overflow. */
INLINE vec vec_expm1(vec x) {
  vec n, y = vec_reduced_exp(vec_between(x, -20, 89), &n);
  vec half = vec_power_of_two((ints)n - 1);
  y = vec_mac(y, half, half - 0.5f);
  return vec_select(x == 0, x, y + y);
}

/* With s = e^−|x|: 1/(1 + s) or s/(1 + s). The quotient is corrected by its remainder, which also sees what rounding
   1 + s has lost. */
INLINE vec vec_sigmoid(vec x) {
  vec s = vec_exp(-vec_abs(x)), above = vec_select(x >= 0, vec_splat(1), s);
  vec below = 1 + s, lost = s - (below - 1), inverse = 1 / below, y = above * inverse;
  return vec_mac(vec_mac(-y, lost, vec_mac(-y, below, above)), inverse, y);
}

/* Below 5/8, x + x³·t(x²) with a minimax fit t of degree 4; above, 1 − 2/(e^2|x| + 1) with the sign of x. */
INLINE vec vec_tanh(vec x) {
  vec n, size = vec_abs(x), s = x * x;
  vec large = 1 + vec_reduced_exp(vec_between(size + size, 0, 40), &n);
  large = 1 - 2 / vec_mac(large, vec_power_of_two((ints)n), vec_splat(1));
  vec small = vec_mac(vec_splat(-0x1.767a14p-8f), s, vec_splat(0x1.524c40p-6f));
  small = vec_mac(small, s, vec_splat(-0x1.b842c4p-5f));
  small = vec_mac(small, s, vec_splat(0x1.11075ep-3f));
  small = vec_mac(small, s, vec_splat(-0x1.555534p-2f));
  small = vec_mac(small * s, size, size);
  return (vec)((ints)vec_select(size < 0.625f, small, large) | ((ints)x & (1 << 31)));
}

INLINE real real_exp(real x) { return vec_exp(vec_splat(x))[0]; }
INLINE real real_expm1(real x) { return vec_expm1(vec_splat(x))[0]; }
INLINE real real_sigmoid(real x) { return vec_sigmoid(vec_splat(x))[0]; }
INLINE real real_tanh(real x) { return vec_tanh(vec_splat(x))[0]; }

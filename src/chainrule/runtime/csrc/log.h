/* log and softplus, over exp.h.

   log(1 + f) = f − f²/2 + f³·p(f) for 1 + f from √½ to √2; p is a minimax fit of degree 7. */

INLINE vec vec_reduced_log(vec f, vec n) {
  vec s = f * f, p = vec_mac(vec_splat(-0x1.41f888p-4f), f, vec_splat(0x1.07ea9cp-3f));
  p = vec_mac(p, f, vec_splat(-0x1.0ce972p-3f));
  p = vec_mac(p, f, vec_splat(0x1.226b0cp-3f));
  p = vec_mac(p, f, vec_splat(-0x1.547766p-3f));
  p = vec_mac(p, f, vec_splat(0x1.99a5b6p-3f));
  p = vec_mac(p, f, vec_splat(-0x1.000224p-2f));
  p = vec_mac(p, f, vec_splat(0x1.55554ap-2f));
  p = vec_mac(n, vec_splat(LOG2_LOW), p * f * s);
  p = vec_mac(vec_splat(-0.5f), s, p) + f;
  return vec_mac(n, vec_splat(LOG2_HIGH), p); /* log(1 + f) + n·log(2) */
}

/* x = 2^n·(1 + f): subtracting the bits of √½ makes n of the exponent's. */
INLINE vec vec_log(vec x) {
  mask tiny = x < 0x1p-126f;
  vec y = vec_select(tiny, x * 0x1p+23f, x);
  ints n = ((ints)y - 0x3f3504f3) >> 23;
  y = (vec)((ints)y - (n << 23)) - 1;
  y = vec_reduced_log(y, vec_from_ints(n - (tiny & 23)));
  y = vec_select(x < real_infinity, y, x); /* of infinity and NaN, themselves */
  y = vec_select(x == 0, vec_splat(-real_infinity), y);
  return vec_select(x < 0, vec_splat(__builtin_nanf("")), y);
}

/* max(x, 0) + log(1 + s) with s = e^−|x|; where 1 + s is above √2, log(2) + log((1 + s)/2). */
INLINE vec vec_softplus(vec x) {
  vec s = vec_exp(-vec_abs(x));
  mask upper = s > 0x1.a8279ap-2f;
  vec f = vec_select(upper, s * 0.5f - 0.5f, s), n = (vec)(upper & (ints)vec_splat(1));
  return vec_relu(x) + vec_reduced_log(f, n);
}

INLINE real real_log(real x) { return vec_log(vec_splat(x))[0]; }
INLINE real real_softplus(real x) { return vec_softplus(vec_splat(x))[0]; }

/* logsumexp in two passes: `top` is the greatest entry, then `sum` that of e^(x − top), from 0. Where the greatest is
   infinite or NaN nothing is subtracted. `position`, the entry's number in its window, counts over the field only. */
#define real_lowest (-real_infinity)
INLINE vec vec_lse_top(vec top, vec x) { return vec_max(top, x); }
INLINE vec vec_lse_shift(vec top) { return (vec)((mask)(vec_abs(top) < real_infinity) & (ints)top); }
INLINE vec vec_lse_add(vec sum, vec x, vec top, long position) {
  (void)position;
  return sum + vec_exp(x - vec_lse_shift(top));
}
INLINE vec vec_lse_end(vec sum, vec top) { return vec_log(sum) + vec_lse_shift(top); }
INLINE real real_lse_top(real top, real x) { return real_max(top, x); }
INLINE real real_lse_add(real sum, real x, real top, long position) {
  return vec_lse_add(vec_splat(sum), vec_splat(x), vec_splat(top), position)[0];
}
INLINE real real_lse_end(real sum, real top) { return vec_lse_end(vec_splat(sum), vec_splat(top))[0]; }

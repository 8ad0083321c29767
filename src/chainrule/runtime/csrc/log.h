/* log and softplus, over exp.h. Errors over all floats, in units in the last place (a test measures them): log ≤ 0.9,
   softplus ≤ 1.7.

   log(1 + f) = f − f²/2 + f³·p(f) for 1 + f from √½ to √2; p is a minimax fit of degree 7. */

typedef unsigned words __attribute__((vector_size(4 * LANES)));

INLINE vec reduced_log(vec f, vec n) {
  vec s = f * f, p = mac(splat(-0x1.41f888p-4f), f, splat(0x1.07ea9cp-3f));
  p = mac(p, f, splat(-0x1.0ce972p-3f));
  p = mac(p, f, splat(0x1.226b0cp-3f));
  p = mac(p, f, splat(-0x1.547766p-3f));
  p = mac(p, f, splat(0x1.99a5b6p-3f));
  p = mac(p, f, splat(-0x1.000224p-2f));
  p = mac(p, f, splat(0x1.55554ap-2f));
  p = mac(n, splat(LOG2_LOW), p * f * s);
  p = mac(splat(-0.5f), s, p) + f;
  return mac(n, splat(LOG2_HIGH), p); /* log(1 + f) + n·log(2) */
}

/* x = 2^n·(1 + f): subtracting the bits of √½ makes n of the exponent's. */
INLINE vec log_(vec x) {
  mask tiny = x < 0x1p-126f;
  vec y = select(tiny, x * 0x1p+23f, x);
  ints n = (ints)((words)y - 0x3f3504f3u) >> 23;
  y = (vec)((words)y - ((words)n << 23)) - 1;
  y = reduced_log(y, __builtin_convertvector(n - (tiny & 23), vec));
  y = select(x < __builtin_inff(), y, x); /* of infinity and NaN, themselves */
  y = select(x == 0, splat(-__builtin_inff()), y);
  return select(x < 0, splat(__builtin_nanf("")), y);
}

/* max(x, 0) + log(1 + s) with s = e^−|x|; where 1 + s is above √2, log(2) + log((1 + s)/2). */
INLINE vec softplus_(vec x) {
  vec s = exp_(-abs_(x));
  mask upper = s > 0x1.a8279ap-2f;
  vec f = select(upper, s * 0.5f - 0.5f, s), n = (vec)(upper & (ints)splat(1));
  return relu_(x) + reduced_log(f, n);
}

INLINE real log_1(real x) { return log_(splat(x))[0]; }
INLINE real softplus_1(real x) { return softplus_(splat(x))[0]; }

/* logsumexp in two passes: `top` is the greatest entry, then `sum` that of e^(x − top), from 0; its terms are lse_shift
   and lse_rest. Where the greatest is infinite or NaN nothing is subtracted. `position`, the entry's number in its
   window, counts over the field only. */
INLINE real lse_start(void) { return -__builtin_inff(); }
INLINE vec lse_top(vec top, vec x) { return max_(top, x); }
INLINE vec lse_shift(vec top) { return (vec)((mask)(abs_(top) < __builtin_inff()) & (ints)top); }
INLINE vec lse_add(vec sum, vec x, vec top, long at) {
  (void)at;
  return sum + exp_(x - lse_shift(top));
}
INLINE vec lse_rest(vec sum) { return log_(sum); }
INLINE real lse_top1(real top, real x) { return max_1(top, x); }
INLINE real lse_add1(real sum, real x, real top, long at) {
  return lse_add(splat(sum), splat(x), splat(top), at)[0];
}
INLINE real lse_shift1(real top) { return abs_1(top) < __builtin_inff() ? top : 0; }
INLINE real lse_rest1(real sum) { return log_(splat(sum))[0]; }

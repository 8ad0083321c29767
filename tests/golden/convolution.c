#ifdef PART
#define KERNEL __attribute__((visibility("hidden")))
#define IN_PART(n) (PART == n)
#else
#define KERNEL static
#define IN_PART(n) 1
#endif

KERNEL void around_x1(long N, long from, long to, real *restrict x1);
KERNEL void k1(long N, long from, long to, real *restrict y1, const real *restrict p2,
        const real *restrict p1, const real *restrict x1);
KERNEL void k2(long N, long from, long to, real *restrict y1);
KERNEL void k3(long N, long from, long to, real *restrict y3, const real *restrict y1,
        const real *restrict x2);
KERNEL void k4(long N, long from, long to, real *restrict y4, const real *restrict y3);
KERNEL void k5(long N, long from, long to, real *restrict x2, const real *restrict y1);
KERNEL void around_y6(long N, long from, long to, real *restrict y6);
KERNEL void k6(long N, long from, long to, real *restrict y6, const real *restrict x2,
        const real *restrict y1);
KERNEL void k7(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1);
KERNEL void k8(long N, long from, long to, real *restrict y8, const real *restrict y6);
KERNEL void k9(long N, long from, long to, real *restrict y9, const real *restrict y6,
        const real *restrict p1);

#if IN_PART(0)
/* zeros around x1 */
KERNEL void around_x1(long N, long from, long to, real *restrict x1)
{
    for (long b = from; b < to; b++) {
        const vec zero = splat(number(0.0f, 0u));
        for (long i10a = 0; i10a < 1; i10a++) {
            for (long i11a = 0; i11a < 1; i11a++) {
                for (long i12a = 0; i12a < 14; i12a++) {
                    store(x1 + b * 8912 + i10a * 1352 + i11a * 104 + i12a * 8, zero);
                }
            }
        }
        for (long i10b = 0; i10b < 1; i10b++) {
            for (long i11b = 13; i11b < 14; i11b++) {
                for (long i12b = 0; i12b < 14; i12b++) {
                    store(x1 + b * 8912 + i10b * 1352 + i11b * 104 + i12b * 8, zero);
                }
            }
        }
        for (long i20a = 0; i20a < 1; i20a++) {
            for (long i21a = 0; i21a < 14; i21a++) {
                for (long i22a = 0; i22a < 1; i22a++) {
                    store(x1 + b * 8912 + i20a * 1352 + i21a * 104 + i22a * 8, zero);
                }
            }
        }
        for (long i20b = 0; i20b < 1; i20b++) {
            for (long i21b = 0; i21b < 14; i21b++) {
                for (long i22b = 13; i22b < 14; i22b++) {
                    store(x1 + b * 8912 + i20b * 1352 + i21b * 104 + i22b * 8, zero);
                }
            }
        }
    }
}
#endif

#if IN_PART(1)
/* y1[n<N, i<2, j<12, k<12] = sum[l<1, m<3, p<3](p1[i, l, m, p]*pad(x1, 0)[n, l, j + m - 1, k + p - 1]) + p2[i] */
KERNEL void k1(long N, long from, long to, real *restrict y1, const real *restrict p2,
        const real *restrict p1, const real *restrict x1)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i2 = 0; i2 < 2; i2++) {
            for (long i3 = 0; i3 < 12; i3++) {
                for (long i4 = 0; i4 < 12; i4++) {
                    vec s5 = splat(number(0.0f, 0u));
                    s5 = mac(splat(p1[i2 * 9]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8), s5);
                    s5 = mac(splat(p1[i2 * 9 + 1]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 8), s5);
                    s5 = mac(splat(p1[i2 * 9 + 2]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 16), s5);
                    s5 = mac(splat(p1[i2 * 9 + 3]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 104), s5);
                    s5 = mac(splat(p1[i2 * 9 + 4]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 112), s5);
                    s5 = mac(splat(p1[i2 * 9 + 5]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 120), s5);
                    s5 = mac(splat(p1[i2 * 9 + 6]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 208), s5);
                    s5 = mac(splat(p1[i2 * 9 + 7]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 216), s5);
                    s5 = mac(splat(p1[i2 * 9 + 8]), load(x1 + b1 * 8912 + i3 * 104 + i4 * 8 + 224), s5);
                    store(y1 + b1 * 8912 + i2 * 1152 + i3 * 96 + i4 * 8, add(s5, splat(p2[i2])));
                }
            }
        }
    }
}
#endif

#if IN_PART(1)
/* y2[n, i<2, j<12, k<12] = relu(y1[n, i, j, k]) */
KERNEL void k2(long N, long from, long to, real *restrict y1)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i2 = 0; i2 < 288; i2++) {
            store(y1 + b1 * 8912 + i2 * 8, relu_(load(y1 + b1 * 8912 + i2 * 8)));
        }
    }
}
#endif

#if IN_PART(1)
/* y3[n] = 1/2*sum[i<2, j<12, k<12]((y2[n, i, j, k] - x2[n, i, j, k])**2) */
KERNEL void k3(long N, long from, long to, real *restrict y3, const real *restrict y1,
        const real *restrict x2)
{
    for (long b1 = from; b1 < to; b1++) {
        vec s2 = splat(number(0.0f, 0u));
        for (long r4 = 0; r4 < 2; r4++) {
            for (long r5 = 0; r5 < 12; r5++) {
                for (long r6 = 0; r6 < 12; r6++) {
                    const vec v10 = mac(splat(number(-1.0f, 2305843009213693950u)), load(x2 + b1 * 8912 + r4 * 1152 + r5 * 96 + r6 * 8), load(y1 + b1 * 8912 + r4 * 1152 + r5 * 96 + r6 * 8));
                    s2 = add(s2, mul(v10, v10));
                }
            }
        }
        store(y3 + b1 * 8912, mul(splat(number(0x1.0000000000000p-1f, 1152921504606846976u)), s2));
    }
}
#endif

#if IN_PART(0)
/* y4 = mean[n](y3[n]) */
KERNEL void k4(long N, long from, long to, real *restrict y4, const real *restrict y3)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    vec s1 = splat(number(0.0f, 0u));
    for (long b3 = 0; b3 < full; b3++) {
        s1 = add(s1, load(y3 + b3 * 8912));
    }
    for (long b3 = full; b3 < blocks; b3++) {
        s1 = select(live((N - b3 * 8)), add(s1, load(y3 + b3 * 8912)), s1);
    }
    y4[0] = mul1(div1(number(1.0f, 1u), size_of_samples(N)), hsum(s1));
}
#endif

#if IN_PART(0)
/* y5[n, i<2, j<12, k<12] = N**-1*(y2[n, i, j, k] - x2[n, i, j, k]) */
KERNEL void k5(long N, long from, long to, real *restrict x2, const real *restrict y1)
{
    const real v1 = div1(number(1.0f, 1u), size_of_samples(N));
    for (long b2 = from; b2 < to; b2++) {
        for (long i3 = 0; i3 < 288; i3++) {
            store(x2 + b2 * 8912 + i3 * 8, mul(splat(v1), mac(splat(number(-1.0f, 2305843009213693950u)), load(x2 + b2 * 8912 + i3 * 8), load(y1 + b2 * 8912 + i3 * 8))));
        }
    }
}
#endif

#if IN_PART(1)
/* zeros around y6 */
KERNEL void around_y6(long N, long from, long to, real *restrict y6)
{
    for (long b = from; b < to; b++) {
        const vec zero = splat(number(0.0f, 0u));
        for (long i10a = 0; i10a < 2; i10a++) {
            for (long i11a = 0; i11a < 1; i11a++) {
                for (long i12a = 0; i12a < 14; i12a++) {
                    store(y6 + b * 8912 + i10a * 1352 + i11a * 104 + i12a * 8, zero);
                }
            }
        }
        for (long i10b = 0; i10b < 2; i10b++) {
            for (long i11b = 13; i11b < 14; i11b++) {
                for (long i12b = 0; i12b < 14; i12b++) {
                    store(y6 + b * 8912 + i10b * 1352 + i11b * 104 + i12b * 8, zero);
                }
            }
        }
        for (long i20a = 0; i20a < 2; i20a++) {
            for (long i21a = 0; i21a < 14; i21a++) {
                for (long i22a = 0; i22a < 1; i22a++) {
                    store(y6 + b * 8912 + i20a * 1352 + i21a * 104 + i22a * 8, zero);
                }
            }
        }
        for (long i20b = 0; i20b < 2; i20b++) {
            for (long i21b = 0; i21b < 14; i21b++) {
                for (long i22b = 13; i22b < 14; i22b++) {
                    store(y6 + b * 8912 + i20b * 1352 + i21b * 104 + i22b * 8, zero);
                }
            }
        }
    }
}
#endif

#if IN_PART(0)
/* y6[n, i<2, j<12, k<12] = y5[n, i, j, k]*step(y2[n, i, j, k]) */
KERNEL void k6(long N, long from, long to, real *restrict y6, const real *restrict x2,
        const real *restrict y1)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i2 = 0; i2 < 2; i2++) {
            for (long i3 = 0; i3 < 12; i3++) {
                for (long i4 = 0; i4 < 12; i4++) {
                    store(y6 + b1 * 8912 + i2 * 1352 + i3 * 104 + i4 * 8 + 112, mul(load(x2 + b1 * 8912 + i2 * 1152 + i3 * 96 + i4 * 8), step_(load(y1 + b1 * 8912 + i2 * 1152 + i3 * 96 + i4 * 8))));
                }
            }
        }
    }
}
#endif

#if IN_PART(0)
/* y7[i<2, j<1, k<3, l<3] = sum[n, m<12, p<12](y6[n, i, m, p]*pad(x1, 0)[n, j, m + k - 1, p + l - 1]) */
KERNEL void k7(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 < (to < 2 ? to : 2); i1++) {
        for (long i3 = 0; i3 < 3; i3++) {
            for (long i4 = 0; i4 < 3; i4++) {
                vec s5 = splat(number(0.0f, 0u));
                for (long b7 = 0; b7 < full; b7++) {
                    for (long r8 = 0; r8 < 12; r8++) {
                        for (long r9 = 0; r9 < 12; r9++) {
                            s5 = mac(load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + r9 * 8 + 112), load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + r9 * 8 + i4 * 8), s5);
                        }
                    }
                }
                for (long b7 = full; b7 < blocks; b7++) {
                    const mask v13 = live((N - b7 * 8));
                    for (long r14 = 0; r14 < 12; r14++) {
                        for (long r15 = 0; r15 < 12; r15++) {
                            s5 = select(v13, mac(load(y6 + b7 * 8912 + i1 * 1352 + r14 * 104 + r15 * 8 + 112), load(x1 + b7 * 8912 + r14 * 104 + i3 * 104 + r15 * 8 + i4 * 8), s5), s5);
                        }
                    }
                }
                y7[i1 * 9 + i3 * 3 + i4] = hsum(s5);
            }
        }
    }
}
#endif

#if IN_PART(1)
/* y8[i<2] = sum[n, j<12, k<12](y6[n, i, j, k]) */
KERNEL void k8(long N, long from, long to, real *restrict y8, const real *restrict y6)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 < (to < 2 ? to : 2); i1++) {
        vec s2 = splat(number(0.0f, 0u));
        for (long b4 = 0; b4 < full; b4++) {
            for (long r5 = 0; r5 < 12; r5++) {
                for (long r6 = 0; r6 < 12; r6++) {
                    s2 = add(s2, load(y6 + b4 * 8912 + i1 * 1352 + r5 * 104 + r6 * 8 + 112));
                }
            }
        }
        for (long b4 = full; b4 < blocks; b4++) {
            const mask v9 = live((N - b4 * 8));
            for (long r10 = 0; r10 < 12; r10++) {
                for (long r11 = 0; r11 < 12; r11++) {
                    s2 = select(v9, add(s2, load(y6 + b4 * 8912 + i1 * 1352 + r10 * 104 + r11 * 8 + 112)), s2);
                }
            }
        }
        y8[i1] = hsum(s2);
    }
}
#endif

#if IN_PART(0)
/* y9[n<N, i<1, j<12, k<12] = sum[l<2, m<3, p<3](pad(y6, 0)[n, l, j - m + 1, k - p + 1]*p1[l, i, m, p]) */
KERNEL void k9(long N, long from, long to, real *restrict y9, const real *restrict y6,
        const real *restrict p1)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i3 = 0; i3 < 12; i3++) {
            for (long i4 = 0; i4 < 12; i4++) {
                vec s5 = splat(number(0.0f, 0u));
                for (long r7 = 0; r7 < 2; r7++) {
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 224), splat(p1[r7 * 9]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 216), splat(p1[r7 * 9 + 1]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 208), splat(p1[r7 * 9 + 2]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 120), splat(p1[r7 * 9 + 3]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 112), splat(p1[r7 * 9 + 4]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 104), splat(p1[r7 * 9 + 5]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 16), splat(p1[r7 * 9 + 6]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8 + 8), splat(p1[r7 * 9 + 7]), s5);
                    s5 = mac(load(y6 + b1 * 8912 + r7 * 1352 + i3 * 104 + i4 * 8), splat(p1[r7 * 9 + 8]), s5);
                }
                store(y9 + b1 * 8912 + i3 * 96 + i4 * 8, s5);
            }
        }
    }
}
#endif

#if IN_PART(0)
/* m: memory, in the order of `slots`; n: {samples, batch, first step, last step, seed, steps before}. Returns the
   number of the step whose loss was not finite, or -1. */
__attribute__((visibility("default"))) long chainrule_run(void *const *m, const long *n, team *t, long worker)
{
    const long samples = n[0], batch = n[1], first = n[2], last = n[3], workers = t->workers;
    real *const blocks_memory = m[0], *const common = m[1];
    const long *const order = m[2];
    const real *const given_x1 = m[3];
    const real *const given_x2 = m[4];
    real *const p1 = m[5];
    real *const p2 = m[6];
    real *const out_y4 = m[7];
    real *const out_y7 = m[8];
    real *const out_y8 = m[9];
    real *const out_y9 = m[10];
    real *const x1 = (blocks_memory + 7424);
    real *const x2 = (blocks_memory + 2816);
    real *const y1 = (blocks_memory + 5120);
    real *const y2 = (blocks_memory + 5120);
    real *const y3 = (blocks_memory + 0);
    real *const y5 = (blocks_memory + 2816);
    real *const y6 = (blocks_memory + 0);
    real *const y9 = (blocks_memory + 2816);
    real *const y4 = (common + 32);
    real *const y7 = (common + 0);
    real *const y8 = (common + 48);
    MARKS(m[11]);
    for (long step = first; step < last; step++) {
        const long begin = step * batch, N = samples - begin < batch ? samples - begin : batch;
        const long blocks = (N + 7) / 8;
        const long own = blocks * worker / workers, end = blocks * (worker + 1) / workers;
        if (meet(t)) break;  /* nothing is written before all are here */
        for (long b = own; b < end; b++) {
            const real *row[8];
            for (int s = 0; s < 8; s++) row[s] = given_x1 + order[begin + (b * 8 + s < N ? b * 8 + s : N - 1)] * 144;
            take(x1 + b * 8912 + 112, row, 0, 12);
            take(x1 + b * 8912 + 216, row, 12, 12);
            take(x1 + b * 8912 + 320, row, 24, 12);
            take(x1 + b * 8912 + 424, row, 36, 12);
            take(x1 + b * 8912 + 528, row, 48, 12);
            take(x1 + b * 8912 + 632, row, 60, 12);
            take(x1 + b * 8912 + 736, row, 72, 12);
            take(x1 + b * 8912 + 840, row, 84, 12);
            take(x1 + b * 8912 + 944, row, 96, 12);
            take(x1 + b * 8912 + 1048, row, 108, 12);
            take(x1 + b * 8912 + 1152, row, 120, 12);
            take(x1 + b * 8912 + 1256, row, 132, 12);
        }
        for (long b = own; b < end; b++) {
            const real *row[8];
            for (int s = 0; s < 8; s++) row[s] = given_x2 + order[begin + (b * 8 + s < N ? b * 8 + s : N - 1)] * 288;
            take(x2 + b * 8912 + 0, row, 0, 288);
        }
        if (step + 1 < last) {
            const long next = begin + batch, stop = next + end * 8;
            for (long at = next + own * 8; at < stop && at < samples; at++) {
                fetch(given_x1 + order[at] * 144, 576);
                fetch(given_x2 + order[at] * 288, 1152);
            }
        }
        MARK(0);
        around_x1(N, own, end, x1);
        MARK(1);
        k1(N, own, end, y1, p2, p1, x1);
        MARK(2);
        k2(N, own, end, y1);
        MARK(3);
        k3(N, own, end, y3, y1, x2);
        meet(t);
        MARK(4);
        if (worker == 0) k4(N, 0, 0, y4, y3);
        MARK(6);
        k5(N, own, end, x2, y1);
        meet(t);
        MARK(7);
        around_y6(N, own, end, y6);
        MARK(9);
        k6(N, own, end, y6, x2, y1);
        meet(t);
        MARK(10);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k7(N, from, to, y7, y6, x1);
        }
        MARK(12);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k8(N, from, to, y8, y6);
        }
        MARK(13);
        k9(N, own, end, y9, y6, p1);
        meet(t);
        MARK(14);
        if (worker == 0) copy(out_y4 + step * 1 + 0, y4 + 0, 1);
        if (worker == 0) copy(out_y7 + step * 18 + 0, y7 + 0, 18);
        if (worker == 0) copy(out_y8 + step * 2 + 0, y8 + 0, 2);
        for (long b = own; b < end; b++) {
            give(out_y9 + (begin + b * 8) * 144 + 0, 144, y9 + b * 8912 + 0, 144, N - b * 8);
        }
        MARK(16);
    }
    return -1;
}
#endif

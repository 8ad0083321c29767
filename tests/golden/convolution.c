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
KERNEL void k7(long N, long from, long to, real *restrict y7, const real *restrict x1,
        const real *restrict y6);
KERNEL void k8(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1);
KERNEL void k9(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1);
KERNEL void k10(long N, long from, long to, real *restrict y8, const real *restrict y6);
KERNEL void k11(long N, long from, long to, real *restrict y9, const real *restrict y6,
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
                    const vec v9 = sub(load(y1 + b1 * 8912 + r4 * 1152 + r5 * 96 + r6 * 8), load(x2 + b1 * 8912 + r4 * 1152 + r5 * 96 + r6 * 8));
                    s2 = add(s2, mul(v9, v9));
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
            store(x2 + b2 * 8912 + i3 * 8, mul(splat(v1), sub(load(y1 + b2 * 8912 + i3 * 8), load(x2 + b2 * 8912 + i3 * 8))));
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
/* y7[i<2, j<1, k<3, 0] = -sum[n, l<12, m<6](y6[n, i, l, 2*m]*(-pad(x1, 0)[n, j, l + k - 1, 2*m - 1] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) + 1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] + y6[n, i, l, 2*m + 1])*(pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) + 1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] - y6[n, i, l, 2*m + 1])*(-pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) */
KERNEL void k7(long N, long from, long to, real *restrict y7, const real *restrict x1,
        const real *restrict y6)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 < (to < 2 ? to : 2); i1++) {
        for (long i3 = 0; i3 < 3; i3++) {
            const vec v5 = splat(number(0.0f, 0u));
            vec s4 = v5;
            vec s6 = v5;
            vec s7 = v5;
            for (long b8 = 0; b8 < full; b8++) {
                for (long r9 = 0; r9 < 12; r9++) {
                    const vec a10 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 16));
                    const vec a13 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 112));
                    s4 = mac(a13, sub(a10, load(x1 + b8 * 8912 + r9 * 104 + i3 * 104)), s4);
                    const vec a14 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 120);
                    const vec a16 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 8);
                    s6 = mac(add(a13, a14), add(a16, a10), s6);
                    s7 = mac(sub(a13, a14), sub(a10, a16), s7);
                    const vec a20 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 32));
                    const vec a22 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 128));
                    s4 = mac(a22, sub(a20, a10), s4);
                    const vec a23 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 136);
                    const vec a25 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 24);
                    s6 = mac(add(a22, a23), add(a25, a20), s6);
                    s7 = mac(sub(a22, a23), sub(a20, a25), s7);
                    const vec a29 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 48));
                    const vec a31 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 144));
                    s4 = mac(a31, sub(a29, a20), s4);
                    const vec a32 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 152);
                    const vec a34 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 40);
                    s6 = mac(add(a31, a32), add(a34, a29), s6);
                    s7 = mac(sub(a31, a32), sub(a29, a34), s7);
                    const vec a38 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 64));
                    const vec a40 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 160));
                    s4 = mac(a40, sub(a38, a29), s4);
                    const vec a41 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 168);
                    const vec a43 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 56);
                    s6 = mac(add(a40, a41), add(a43, a38), s6);
                    s7 = mac(sub(a40, a41), sub(a38, a43), s7);
                    const vec a47 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 80));
                    const vec a49 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 176));
                    s4 = mac(a49, sub(a47, a38), s4);
                    const vec a50 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 184);
                    const vec a52 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 72);
                    s6 = mac(add(a49, a50), add(a52, a47), s6);
                    s7 = mac(sub(a49, a50), sub(a47, a52), s7);
                    const vec a56 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 96));
                    const vec a58 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 192));
                    s4 = mac(a58, sub(a56, a47), s4);
                    const vec a59 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 200);
                    const vec a61 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 88);
                    s6 = mac(add(a58, a59), add(a61, a56), s6);
                    s7 = mac(sub(a58, a59), sub(a56, a61), s7);
                }
            }
            for (long b8 = full; b8 < blocks; b8++) {
                const mask v66 = live((N - b8 * 8));
                for (long r67 = 0; r67 < 12; r67++) {
                    const vec a68 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 16));
                    const vec a71 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 112));
                    s4 = select(v66, mac(a71, sub(a68, load(x1 + b8 * 8912 + r67 * 104 + i3 * 104)), s4), s4);
                    const vec a73 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 120);
                    const vec a75 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 8);
                    s6 = select(v66, mac(add(a71, a73), add(a75, a68), s6), s6);
                    s7 = select(v66, mac(sub(a71, a73), sub(a68, a75), s7), s7);
                    const vec a81 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 32));
                    const vec a83 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 128));
                    s4 = select(v66, mac(a83, sub(a81, a68), s4), s4);
                    const vec a85 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 136);
                    const vec a87 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 24);
                    s6 = select(v66, mac(add(a83, a85), add(a87, a81), s6), s6);
                    s7 = select(v66, mac(sub(a83, a85), sub(a81, a87), s7), s7);
                    const vec a93 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 48));
                    const vec a95 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 144));
                    s4 = select(v66, mac(a95, sub(a93, a81), s4), s4);
                    const vec a97 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 152);
                    const vec a99 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 40);
                    s6 = select(v66, mac(add(a95, a97), add(a99, a93), s6), s6);
                    s7 = select(v66, mac(sub(a95, a97), sub(a93, a99), s7), s7);
                    const vec a105 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 64));
                    const vec a107 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 160));
                    s4 = select(v66, mac(a107, sub(a105, a93), s4), s4);
                    const vec a109 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 168);
                    const vec a111 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 56);
                    s6 = select(v66, mac(add(a107, a109), add(a111, a105), s6), s6);
                    s7 = select(v66, mac(sub(a107, a109), sub(a105, a111), s7), s7);
                    const vec a117 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 80));
                    const vec a119 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 176));
                    s4 = select(v66, mac(a119, sub(a117, a105), s4), s4);
                    const vec a121 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 184);
                    const vec a123 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 72);
                    s6 = select(v66, mac(add(a119, a121), add(a123, a117), s6), s6);
                    s7 = select(v66, mac(sub(a119, a121), sub(a117, a123), s7), s7);
                    const vec a129 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 96));
                    const vec a131 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 192));
                    s4 = select(v66, mac(a131, sub(a129, a117), s4), s4);
                    const vec a133 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 200);
                    const vec a135 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 88);
                    s6 = select(v66, mac(add(a131, a133), add(a135, a129), s6), s6);
                    s7 = select(v66, mac(sub(a131, a133), sub(a129, a135), s7), s7);
                }
            }
            y7[i1 * 9 + i3 * 3] = mac1(number(0x1.0000000000000p-1f, 1152921504606846976u), hsum(s7), mac1(number(0x1.0000000000000p-1f, 1152921504606846976u), hsum(s6), mul1(number(-1.0f, 2305843009213693950u), hsum(s4))));
        }
    }
}
#endif

#if IN_PART(1)
/* y7[i<2, j<1, k<3, 1] = 1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] + y6[n, i, l, 2*m + 1])*(pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) + -1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] - y6[n, i, l, 2*m + 1])*(-pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) */
KERNEL void k8(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 < (to < 2 ? to : 2); i1++) {
        for (long i3 = 0; i3 < 3; i3++) {
            const vec v5 = splat(number(0.0f, 0u));
            vec s4 = v5;
            vec s6 = v5;
            for (long b7 = 0; b7 < full; b7++) {
                for (long r8 = 0; r8 < 12; r8++) {
                    const vec a9 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 112);
                    const vec a10 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 120);
                    const vec a12 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 8);
                    const vec a13 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 16);
                    s4 = mac(add(a9, a10), add(a12, a13), s4);
                    s6 = mac(sub(a9, a10), sub(a13, a12), s6);
                    const vec a17 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 128);
                    const vec a18 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 136);
                    const vec a20 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 24);
                    const vec a21 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 32);
                    s4 = mac(add(a17, a18), add(a20, a21), s4);
                    s6 = mac(sub(a17, a18), sub(a21, a20), s6);
                    const vec a25 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 144);
                    const vec a26 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 152);
                    const vec a28 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 40);
                    const vec a29 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 48);
                    s4 = mac(add(a25, a26), add(a28, a29), s4);
                    s6 = mac(sub(a25, a26), sub(a29, a28), s6);
                    const vec a33 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 160);
                    const vec a34 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 168);
                    const vec a36 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 56);
                    const vec a37 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 64);
                    s4 = mac(add(a33, a34), add(a36, a37), s4);
                    s6 = mac(sub(a33, a34), sub(a37, a36), s6);
                    const vec a41 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 176);
                    const vec a42 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 184);
                    const vec a44 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 72);
                    const vec a45 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 80);
                    s4 = mac(add(a41, a42), add(a44, a45), s4);
                    s6 = mac(sub(a41, a42), sub(a45, a44), s6);
                    const vec a49 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 192);
                    const vec a50 = load(y6 + b7 * 8912 + i1 * 1352 + r8 * 104 + 200);
                    const vec a52 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 88);
                    const vec a53 = load(x1 + b7 * 8912 + r8 * 104 + i3 * 104 + 96);
                    s4 = mac(add(a49, a50), add(a52, a53), s4);
                    s6 = mac(sub(a49, a50), sub(a53, a52), s6);
                }
            }
            for (long b7 = full; b7 < blocks; b7++) {
                const mask v58 = live((N - b7 * 8));
                for (long r59 = 0; r59 < 12; r59++) {
                    const vec a60 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 112);
                    const vec a61 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 120);
                    const vec a63 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 8);
                    const vec a64 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 16);
                    s4 = select(v58, mac(add(a60, a61), add(a63, a64), s4), s4);
                    s6 = select(v58, mac(sub(a60, a61), sub(a64, a63), s6), s6);
                    const vec a70 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 128);
                    const vec a71 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 136);
                    const vec a73 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 24);
                    const vec a74 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 32);
                    s4 = select(v58, mac(add(a70, a71), add(a73, a74), s4), s4);
                    s6 = select(v58, mac(sub(a70, a71), sub(a74, a73), s6), s6);
                    const vec a80 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 144);
                    const vec a81 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 152);
                    const vec a83 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 40);
                    const vec a84 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 48);
                    s4 = select(v58, mac(add(a80, a81), add(a83, a84), s4), s4);
                    s6 = select(v58, mac(sub(a80, a81), sub(a84, a83), s6), s6);
                    const vec a90 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 160);
                    const vec a91 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 168);
                    const vec a93 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 56);
                    const vec a94 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 64);
                    s4 = select(v58, mac(add(a90, a91), add(a93, a94), s4), s4);
                    s6 = select(v58, mac(sub(a90, a91), sub(a94, a93), s6), s6);
                    const vec a100 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 176);
                    const vec a101 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 184);
                    const vec a103 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 72);
                    const vec a104 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 80);
                    s4 = select(v58, mac(add(a100, a101), add(a103, a104), s4), s4);
                    s6 = select(v58, mac(sub(a100, a101), sub(a104, a103), s6), s6);
                    const vec a110 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 192);
                    const vec a111 = load(y6 + b7 * 8912 + i1 * 1352 + r59 * 104 + 200);
                    const vec a113 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 88);
                    const vec a114 = load(x1 + b7 * 8912 + r59 * 104 + i3 * 104 + 96);
                    s4 = select(v58, mac(add(a110, a111), add(a113, a114), s4), s4);
                    s6 = select(v58, mac(sub(a110, a111), sub(a114, a113), s6), s6);
                }
            }
            y7[i1 * 9 + i3 * 3 + 1] = mac1(number(-0x1.0000000000000p-1f, 1152921504606846975u), hsum(s6), mul1(number(0x1.0000000000000p-1f, 1152921504606846976u), hsum(s4)));
        }
    }
}
#endif

#if IN_PART(1)
/* y7[i<2, j<1, k<3, 2] = 1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] + y6[n, i, l, 2*m + 1])*(pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) + 1/2*sum[n, l<12, m<6]((y6[n, i, l, 2*m] - y6[n, i, l, 2*m + 1])*(-pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 1])) + sum[n, l<12, m<6](y6[n, i, l, 2*m + 1]*(-pad(x1, 0)[n, j, l + k - 1, 2*m] + pad(x1, 0)[n, j, l + k - 1, 2*m + 2])) */
KERNEL void k9(long N, long from, long to, real *restrict y7, const real *restrict y6,
        const real *restrict x1)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 < (to < 2 ? to : 2); i1++) {
        for (long i3 = 0; i3 < 3; i3++) {
            const vec v5 = splat(number(0.0f, 0u));
            vec s4 = v5;
            vec s6 = v5;
            vec s7 = v5;
            for (long b8 = 0; b8 < full; b8++) {
                for (long r9 = 0; r9 < 12; r9++) {
                    const vec a10 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 112);
                    const vec a11 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 120));
                    const vec a13 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 8));
                    const vec a14 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 16);
                    s4 = mac(add(a10, a11), add(a13, a14), s4);
                    s6 = mac(sub(a10, a11), sub(a14, a13), s6);
                    const vec a18 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 24));
                    s7 = mac(a11, sub(a18, a13), s7);
                    const vec a20 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 128);
                    const vec a21 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 136));
                    const vec a23 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 32);
                    s4 = mac(add(a20, a21), add(a18, a23), s4);
                    s6 = mac(sub(a20, a21), sub(a23, a18), s6);
                    const vec a27 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 40));
                    s7 = mac(a21, sub(a27, a18), s7);
                    const vec a29 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 144);
                    const vec a30 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 152));
                    const vec a32 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 48);
                    s4 = mac(add(a29, a30), add(a27, a32), s4);
                    s6 = mac(sub(a29, a30), sub(a32, a27), s6);
                    const vec a36 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 56));
                    s7 = mac(a30, sub(a36, a27), s7);
                    const vec a38 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 160);
                    const vec a39 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 168));
                    const vec a41 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 64);
                    s4 = mac(add(a38, a39), add(a36, a41), s4);
                    s6 = mac(sub(a38, a39), sub(a41, a36), s6);
                    const vec a45 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 72));
                    s7 = mac(a39, sub(a45, a36), s7);
                    const vec a47 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 176);
                    const vec a48 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 184));
                    const vec a50 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 80);
                    s4 = mac(add(a47, a48), add(a45, a50), s4);
                    s6 = mac(sub(a47, a48), sub(a50, a45), s6);
                    const vec a54 = held(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 88));
                    s7 = mac(a48, sub(a54, a45), s7);
                    const vec a56 = load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 192);
                    const vec a57 = held(load(y6 + b8 * 8912 + i1 * 1352 + r9 * 104 + 200));
                    const vec a59 = load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 96);
                    s4 = mac(add(a56, a57), add(a54, a59), s4);
                    s6 = mac(sub(a56, a57), sub(a59, a54), s6);
                    s7 = mac(a57, sub(load(x1 + b8 * 8912 + r9 * 104 + i3 * 104 + 104), a54), s7);
                }
            }
            for (long b8 = full; b8 < blocks; b8++) {
                const mask v66 = live((N - b8 * 8));
                for (long r67 = 0; r67 < 12; r67++) {
                    const vec a68 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 112);
                    const vec a69 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 120));
                    const vec a71 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 8));
                    const vec a72 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 16);
                    s4 = select(v66, mac(add(a68, a69), add(a71, a72), s4), s4);
                    s6 = select(v66, mac(sub(a68, a69), sub(a72, a71), s6), s6);
                    const vec a78 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 24));
                    s7 = select(v66, mac(a69, sub(a78, a71), s7), s7);
                    const vec a81 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 128);
                    const vec a82 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 136));
                    const vec a84 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 32);
                    s4 = select(v66, mac(add(a81, a82), add(a78, a84), s4), s4);
                    s6 = select(v66, mac(sub(a81, a82), sub(a84, a78), s6), s6);
                    const vec a90 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 40));
                    s7 = select(v66, mac(a82, sub(a90, a78), s7), s7);
                    const vec a93 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 144);
                    const vec a94 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 152));
                    const vec a96 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 48);
                    s4 = select(v66, mac(add(a93, a94), add(a90, a96), s4), s4);
                    s6 = select(v66, mac(sub(a93, a94), sub(a96, a90), s6), s6);
                    const vec a102 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 56));
                    s7 = select(v66, mac(a94, sub(a102, a90), s7), s7);
                    const vec a105 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 160);
                    const vec a106 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 168));
                    const vec a108 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 64);
                    s4 = select(v66, mac(add(a105, a106), add(a102, a108), s4), s4);
                    s6 = select(v66, mac(sub(a105, a106), sub(a108, a102), s6), s6);
                    const vec a114 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 72));
                    s7 = select(v66, mac(a106, sub(a114, a102), s7), s7);
                    const vec a117 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 176);
                    const vec a118 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 184));
                    const vec a120 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 80);
                    s4 = select(v66, mac(add(a117, a118), add(a114, a120), s4), s4);
                    s6 = select(v66, mac(sub(a117, a118), sub(a120, a114), s6), s6);
                    const vec a126 = held(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 88));
                    s7 = select(v66, mac(a118, sub(a126, a114), s7), s7);
                    const vec a129 = load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 192);
                    const vec a130 = held(load(y6 + b8 * 8912 + i1 * 1352 + r67 * 104 + 200));
                    const vec a132 = load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 96);
                    s4 = select(v66, mac(add(a129, a130), add(a126, a132), s4), s4);
                    s6 = select(v66, mac(sub(a129, a130), sub(a132, a126), s6), s6);
                    s7 = select(v66, mac(a130, sub(load(x1 + b8 * 8912 + r67 * 104 + i3 * 104 + 104), a126), s7), s7);
                }
            }
            y7[i1 * 9 + i3 * 3 + 2] = add1(mac1(number(0x1.0000000000000p-1f, 1152921504606846976u), hsum(s6), mul1(number(0x1.0000000000000p-1f, 1152921504606846976u), hsum(s4))), hsum(s7));
        }
    }
}
#endif

#if IN_PART(0)
/* y8[i<2] = sum[n, j<12, k<12](y6[n, i, j, k]) */
KERNEL void k10(long N, long from, long to, real *restrict y8, const real *restrict y6)
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
KERNEL void k11(long N, long from, long to, real *restrict y9, const real *restrict y6,
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
        if (meet(t)) return -1;  /* nothing is written before all are here */
        MARK(0);
        for (long b = own; b < end; b++) {
            const real *row[8];
            ROWS(row, given_x1, 144, N - b * 8, order[begin + b * 8 + s]);
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
        MARK(2);
        for (long b = own; b < end; b++) {
            const real *row[8];
            ROWS(row, given_x2, 288, N - b * 8, order[begin + b * 8 + s]);
            take(x2 + b * 8912 + 0, row, 0, 288);
        }
        MARK(3);
        if (step + 1 < last) {
            const long next = begin + batch, stop = next + end * 8;
            for (long at = next + own * 8; at < stop && at < samples; at++) {
                fetch(given_x1 + order[at] * 144, 576);
                fetch(given_x2 + order[at] * 288, 1152);
            }
        }
        MARK(4);
        around_x1(N, own, end, x1);
        MARK(5);
        k1(N, own, end, y1, p2, p1, x1);
        MARK(6);
        k2(N, own, end, y1);
        MARK(7);
        k3(N, own, end, y3, y1, x2);
        meet(t);
        MARK(8);
        if (worker == 0) k4(N, 0, 0, y4, y3);
        MARK(10);
        k5(N, own, end, x2, y1);
        meet(t);
        MARK(11);
        around_y6(N, own, end, y6);
        MARK(13);
        k6(N, own, end, y6, x2, y1);
        meet(t);
        MARK(14);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k7(N, from, to, y7, x1, y6);
        }
        meet(t);
        MARK(16);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k8(N, from, to, y7, y6, x1);
        }
        meet(t);
        MARK(18);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k9(N, from, to, y7, y6, x1);
        }
        MARK(20);
        {
            long from, to;
            share(2, 1, worker, workers, &from, &to);
            if (from < to) k10(N, from, to, y8, y6);
        }
        MARK(21);
        k11(N, own, end, y9, y6, p1);
        MARK(22);
        if (worker == 0) copy(out_y4 + step * 1 + 0, y4 + 0, 1);
        meet(t);
        MARK(23);
        if (worker == 0) copy(out_y7 + step * 18 + 0, y7 + 0, 18);
        MARK(25);
        if (worker == 0) copy(out_y8 + step * 2 + 0, y8 + 0, 2);
        MARK(26);
        for (long b = own; b < end; b++) {
            give(out_y9 + (begin + b * 8) * 144 + 0, 144, y9 + b * 8912 + 0, 144, N - b * 8);
        }
        MARK(27);
    }
    return -1;
}
#endif

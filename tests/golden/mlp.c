#ifdef PART
#define KERNEL __attribute__((visibility("hidden")))
#define IN_PART(n) (PART == n)
#else
#define KERNEL static
#define IN_PART(n) 1
#endif

KERNEL void k1(long N, long from, long to, real *restrict y2, const real *restrict p2,
        const real *restrict p1, const real *restrict x1);
KERNEL void k2(long N, long from, long to, real *restrict y3, const real *restrict p4,
        const real *restrict p3, const real *restrict y2);
KERNEL void k3(long N, long from, long to, real *restrict y4, real *restrict y5, const real *restrict y3);
KERNEL void k4(long N, long from, long to, real *restrict y6, const real *restrict y3,
        const real *restrict y4, const real *restrict y5);
KERNEL void k5(long N, long from, long to, real *restrict y4, const real *restrict y5,
        const real *restrict x2, const real *restrict y3);
KERNEL void k6(long N, long from, long to, real *restrict y8, const real *restrict y4);
KERNEL void k7(long N, long from, long to, real *restrict y6, const real *restrict x2);
KERNEL void k8(long N, long from, long to, real *restrict y2, const real *restrict y6,
        const real *restrict p3);
KERNEL void k9(long N, long from, long to, real *restrict y12, const real *restrict y2,
        const real *restrict x1r);
KERNEL void k10(long N, long from, long to, real *restrict y13, const real *restrict y2);
KERNEL void k11(long N, long from, long to, real *restrict y14, const real *restrict y6,
        const real *restrict y2r);
KERNEL void k12(long N, long from, long to, real *restrict y15, const real *restrict y6);
KERNEL void k13(long N, long from, long to, real *restrict y16, const real *restrict y2,
        const real *restrict p1);

#if IN_PART(0)
/* y1[n, i<12] = sum[j<20](p1[i, j]*x1[n, j]) + p2[i]
   y2[n, i<12] = sigmoid(y1[n, i]) */
KERNEL void k1(long N, long from, long to, real *restrict y2, const real *restrict p2,
        const real *restrict p1, const real *restrict x1)
{
    for (long b1 = from; b1 < to; b1++) {
        const vec v15 = splat(number(0.0f, 0u));
        vec s3 = v15;
        vec s4 = v15;
        vec s5 = v15;
        vec s6 = v15;
        vec s7 = v15;
        vec s8 = v15;
        vec s9 = v15;
        vec s10 = v15;
        vec s11 = v15;
        vec s12 = v15;
        vec s13 = v15;
        vec s14 = v15;
        for (long r16 = 0; r16 < 20; r16++) {
            const vec a18 = held(load(x1 + b1 * 432 + r16 * 8));
            s3 = mac(splat(p1[r16]), a18, s3);
            s4 = mac(splat(p1[r16 + 20]), a18, s4);
            s5 = mac(splat(p1[r16 + 40]), a18, s5);
            s6 = mac(splat(p1[r16 + 60]), a18, s6);
            s7 = mac(splat(p1[r16 + 80]), a18, s7);
            s8 = mac(splat(p1[r16 + 100]), a18, s8);
            s9 = mac(splat(p1[r16 + 120]), a18, s9);
            s10 = mac(splat(p1[r16 + 140]), a18, s10);
            s11 = mac(splat(p1[r16 + 160]), a18, s11);
            s12 = mac(splat(p1[r16 + 180]), a18, s12);
            s13 = mac(splat(p1[r16 + 200]), a18, s13);
            s14 = mac(splat(p1[r16 + 220]), a18, s14);
        }
        store(y2 + b1 * 432, sigmoid_(add(s3, splat(p2[0]))));
        store(y2 + b1 * 432 + 8, sigmoid_(add(s4, splat(p2[1]))));
        store(y2 + b1 * 432 + 16, sigmoid_(add(s5, splat(p2[2]))));
        store(y2 + b1 * 432 + 24, sigmoid_(add(s6, splat(p2[3]))));
        store(y2 + b1 * 432 + 32, sigmoid_(add(s7, splat(p2[4]))));
        store(y2 + b1 * 432 + 40, sigmoid_(add(s8, splat(p2[5]))));
        store(y2 + b1 * 432 + 48, sigmoid_(add(s9, splat(p2[6]))));
        store(y2 + b1 * 432 + 56, sigmoid_(add(s10, splat(p2[7]))));
        store(y2 + b1 * 432 + 64, sigmoid_(add(s11, splat(p2[8]))));
        store(y2 + b1 * 432 + 72, sigmoid_(add(s12, splat(p2[9]))));
        store(y2 + b1 * 432 + 80, sigmoid_(add(s13, splat(p2[10]))));
        store(y2 + b1 * 432 + 88, sigmoid_(add(s14, splat(p2[11]))));
    }
}
#endif

#if IN_PART(1)
/* y3[n, i<10] = sum[j<12](p3[i, j]*y2[n, j]) + p4[i] */
KERNEL void k2(long N, long from, long to, real *restrict y3, const real *restrict p4,
        const real *restrict p3, const real *restrict y2)
{
    for (long b1 = from; b1 < to; b1++) {
        const vec v13 = splat(number(0.0f, 0u));
        vec s3 = v13;
        vec s4 = v13;
        vec s5 = v13;
        vec s6 = v13;
        vec s7 = v13;
        vec s8 = v13;
        vec s9 = v13;
        vec s10 = v13;
        vec s11 = v13;
        vec s12 = v13;
        for (long r14 = 0; r14 < 12; r14++) {
            const vec a16 = held(load(y2 + b1 * 432 + r14 * 8));
            s3 = mac(splat(p3[r14]), a16, s3);
            s4 = mac(splat(p3[r14 + 12]), a16, s4);
            s5 = mac(splat(p3[r14 + 24]), a16, s5);
            s6 = mac(splat(p3[r14 + 36]), a16, s6);
            s7 = mac(splat(p3[r14 + 48]), a16, s7);
            s8 = mac(splat(p3[r14 + 60]), a16, s8);
            s9 = mac(splat(p3[r14 + 72]), a16, s9);
            s10 = mac(splat(p3[r14 + 84]), a16, s10);
            s11 = mac(splat(p3[r14 + 96]), a16, s11);
            s12 = mac(splat(p3[r14 + 108]), a16, s12);
        }
        store(y3 + b1 * 432, add(s3, splat(p4[0])));
        store(y3 + b1 * 432 + 8, add(s4, splat(p4[1])));
        store(y3 + b1 * 432 + 16, add(s5, splat(p4[2])));
        store(y3 + b1 * 432 + 24, add(s6, splat(p4[3])));
        store(y3 + b1 * 432 + 32, add(s7, splat(p4[4])));
        store(y3 + b1 * 432 + 40, add(s8, splat(p4[5])));
        store(y3 + b1 * 432 + 48, add(s9, splat(p4[6])));
        store(y3 + b1 * 432 + 56, add(s10, splat(p4[7])));
        store(y3 + b1 * 432 + 64, add(s11, splat(p4[8])));
        store(y3 + b1 * 432 + 72, add(s12, splat(p4[9])));
    }
}
#endif

#if IN_PART(1)
/* y4[n] = max[i<10](y3[n, i])
   y5[n] = logsumexp[i<10](y3[n, i]) - y4[n] */
KERNEL void k3(long N, long from, long to, real *restrict y4, real *restrict y5, const real *restrict y3)
{
    for (long b1 = from; b1 < to; b1++) {
        vec m3 = load(y3 + b1 * 432);
        for (long r4 = 0; r4 < 10; r4++) {
            const vec a5 = load(y3 + b1 * 432 + r4 * 8);
            m3 = select(better(a5, m3), a5, m3);
        }
        vec m8 = splat(lse_start());
        vec s10 = splat(number(0.0f, 0u));
        for (long r12 = 0; r12 < 10; r12++) {
            m8 = lse_top(m8, load(y3 + b1 * 432 + r12 * 8));
        }
        for (long r14 = 0; r14 < 10; r14++) {
            s10 = lse_add(s10, load(y3 + b1 * 432 + r14 * 8), m8, r14);
        }
        const vec v16 = lse_shift(m8);
        const vec v17 = lse_rest(s10);
        const vec v20 = add(sub(v16, m3), v17);
        store(y4 + b1 * 432, m3);
        store(y5 + b1 * 432, v20);
    }
}
#endif

#if IN_PART(0)
/* y6[n, i<10] = exp(y3[n, i] - y4[n] - y5[n]) */
KERNEL void k4(long N, long from, long to, real *restrict y6, const real *restrict y3,
        const real *restrict y4, const real *restrict y5)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i2 = 0; i2 < 10; i2++) {
            store(y6 + b1 * 432 + i2 * 8, exp_(sub(sub(load(y3 + b1 * 432 + i2 * 8), load(y4 + b1 * 432)), load(y5 + b1 * 432))));
        }
    }
}
#endif

#if IN_PART(0)
/* y7[n] = y4[n] - sum[i<10](x2[n, i]*y3[n, i]) + y5[n] */
KERNEL void k5(long N, long from, long to, real *restrict y4, const real *restrict y5,
        const real *restrict x2, const real *restrict y3)
{
    for (long b1 = from; b1 < to; b1++) {
        prefetch(y4 + b1 * 432);
        prefetch(y5 + b1 * 432);
        vec s2 = splat(number(0.0f, 0u));
        for (long r4 = 0; r4 < 10; r4++) {
            s2 = mac(load(x2 + b1 * 432 + r4 * 8), load(y3 + b1 * 432 + r4 * 8), s2);
        }
        store(y4 + b1 * 432, add(sub(load(y4 + b1 * 432), s2), load(y5 + b1 * 432)));
    }
}
#endif

#if IN_PART(1)
/* y8 = mean[n](y7[n]) */
KERNEL void k6(long N, long from, long to, real *restrict y8, const real *restrict y4)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    vec s1 = splat(number(0.0f, 0u));
    for (long b3 = 0; b3 < full; b3++) {
        s1 = add(s1, load(y4 + b3 * 432));
    }
    for (long b3 = full; b3 < blocks; b3++) {
        s1 = select(live((N - b3 * 8)), add(s1, load(y4 + b3 * 432)), s1);
    }
    y8[0] = mul1(div1(number(1.0f, 1u), size_of_samples(N)), hsum(s1));
}
#endif

#if IN_PART(0)
/* y9[n, i<10] = N**-1*(y6[n, i] - x2[n, i]) */
KERNEL void k7(long N, long from, long to, real *restrict y6, const real *restrict x2)
{
    const real v1 = div1(number(1.0f, 1u), size_of_samples(N));
    for (long b2 = from; b2 < to; b2++) {
        for (long i3 = 0; i3 < 10; i3++) {
            store(y6 + b2 * 432 + i3 * 8, mul(splat(v1), sub(load(y6 + b2 * 432 + i3 * 8), load(x2 + b2 * 432 + i3 * 8))));
        }
    }
}
#endif

#if IN_PART(1)
/* y10[n, i<12] = sum[j<10](y9[n, j]*p3[j, i])
   y11[n, i<12] = y10[n, i]*y2[n, i]*(1 - y2[n, i]) */
KERNEL void k8(long N, long from, long to, real *restrict y2, const real *restrict y6,
        const real *restrict p3)
{
    for (long b1 = from; b1 < to; b1++) {
        prefetch(y2 + b1 * 432);
        prefetch(y2 + b1 * 432 + 8);
        prefetch(y2 + b1 * 432 + 16);
        prefetch(y2 + b1 * 432 + 24);
        prefetch(y2 + b1 * 432 + 32);
        prefetch(y2 + b1 * 432 + 40);
        prefetch(y2 + b1 * 432 + 48);
        prefetch(y2 + b1 * 432 + 56);
        prefetch(y2 + b1 * 432 + 64);
        prefetch(y2 + b1 * 432 + 72);
        prefetch(y2 + b1 * 432 + 80);
        prefetch(y2 + b1 * 432 + 88);
        const vec v15 = splat(number(0.0f, 0u));
        vec s3 = v15;
        vec s4 = v15;
        vec s5 = v15;
        vec s6 = v15;
        vec s7 = v15;
        vec s8 = v15;
        vec s9 = v15;
        vec s10 = v15;
        vec s11 = v15;
        vec s12 = v15;
        vec s13 = v15;
        vec s14 = v15;
        for (long r16 = 0; r16 < 10; r16++) {
            const vec a17 = held(load(y6 + b1 * 432 + r16 * 8));
            s3 = mac(a17, splat(p3[r16 * 12]), s3);
            s4 = mac(a17, splat(p3[r16 * 12 + 1]), s4);
            s5 = mac(a17, splat(p3[r16 * 12 + 2]), s5);
            s6 = mac(a17, splat(p3[r16 * 12 + 3]), s6);
            s7 = mac(a17, splat(p3[r16 * 12 + 4]), s7);
            s8 = mac(a17, splat(p3[r16 * 12 + 5]), s8);
            s9 = mac(a17, splat(p3[r16 * 12 + 6]), s9);
            s10 = mac(a17, splat(p3[r16 * 12 + 7]), s10);
            s11 = mac(a17, splat(p3[r16 * 12 + 8]), s11);
            s12 = mac(a17, splat(p3[r16 * 12 + 9]), s12);
            s13 = mac(a17, splat(p3[r16 * 12 + 10]), s13);
            s14 = mac(a17, splat(p3[r16 * 12 + 11]), s14);
        }
        const vec a42 = load(y2 + b1 * 432);
        const vec v43 = splat(number(1.0f, 1u));
        store(y2 + b1 * 432, mul(mul(s3, a42), sub(v43, a42)));
        const vec a47 = load(y2 + b1 * 432 + 8);
        store(y2 + b1 * 432 + 8, mul(mul(s4, a47), sub(v43, a47)));
        const vec a51 = load(y2 + b1 * 432 + 16);
        store(y2 + b1 * 432 + 16, mul(mul(s5, a51), sub(v43, a51)));
        const vec a55 = load(y2 + b1 * 432 + 24);
        store(y2 + b1 * 432 + 24, mul(mul(s6, a55), sub(v43, a55)));
        const vec a59 = load(y2 + b1 * 432 + 32);
        store(y2 + b1 * 432 + 32, mul(mul(s7, a59), sub(v43, a59)));
        const vec a63 = load(y2 + b1 * 432 + 40);
        store(y2 + b1 * 432 + 40, mul(mul(s8, a63), sub(v43, a63)));
        const vec a67 = load(y2 + b1 * 432 + 48);
        store(y2 + b1 * 432 + 48, mul(mul(s9, a67), sub(v43, a67)));
        const vec a71 = load(y2 + b1 * 432 + 56);
        store(y2 + b1 * 432 + 56, mul(mul(s10, a71), sub(v43, a71)));
        const vec a75 = load(y2 + b1 * 432 + 64);
        store(y2 + b1 * 432 + 64, mul(mul(s11, a75), sub(v43, a75)));
        const vec a79 = load(y2 + b1 * 432 + 72);
        store(y2 + b1 * 432 + 72, mul(mul(s12, a79), sub(v43, a79)));
        const vec a83 = load(y2 + b1 * 432 + 80);
        store(y2 + b1 * 432 + 80, mul(mul(s13, a83), sub(v43, a83)));
        const vec a87 = load(y2 + b1 * 432 + 88);
        store(y2 + b1 * 432 + 88, mul(mul(s14, a87), sub(v43, a87)));
    }
}
#endif

#if IN_PART(0)
/* y12[i<12, j<20] = sum[n](y11[n, i]*x1[n, j]) */
KERNEL void k9(long N, long from, long to, real *restrict y12, const real *restrict y2,
        const real *restrict x1r)
{
    const long blocks = (N + 7) / 8;
    for (long i1 = from; i1 + 2 < (to < 12 ? to : 12); i1 += 3) {
        for (long i2 = 0; i2 + 15 < 16; i2 += 16) {
            const vec v9 = splat(number(0.0f, 0u));
            vec s3 = v9;
            vec s4 = v9;
            vec s5 = v9;
            vec s6 = v9;
            vec s7 = v9;
            vec s8 = v9;
            for (long b10 = 0; b10 < blocks; b10++) {
                const long v12 = (N - b10 * 8);
                const long v13 = (v12 < 8 ? v12 : 8);
                for (long n11 = 0; n11 < v13; n11++) {
                    const vec a15 = held(load(x1r + b10 * 432 + i2 + n11 * 20));
                    const vec v16 = splat(y2[b10 * 432 + i1 * 8 + n11]);
                    s3 = mac(v16, a15, s3);
                    const vec a17 = held(load(x1r + b10 * 432 + i2 + n11 * 20 + 8));
                    s6 = mac(v16, a17, s6);
                    const vec v19 = splat(y2[b10 * 432 + i1 * 8 + n11 + 8]);
                    s4 = mac(v19, a15, s4);
                    s7 = mac(v19, a17, s7);
                    const vec v21 = splat(y2[b10 * 432 + i1 * 8 + n11 + 16]);
                    s5 = mac(v21, a15, s5);
                    s8 = mac(v21, a17, s8);
                }
            }
            store(y12 + i1 * 20 + i2, s3);
            store(y12 + i1 * 20 + i2 + 20, s4);
            store(y12 + i1 * 20 + i2 + 40, s5);
            store(y12 + i1 * 20 + i2 + 8, s6);
            store(y12 + i1 * 20 + i2 + 28, s7);
            store(y12 + i1 * 20 + i2 + 48, s8);
        }
        for (long i2 = 16; i2 + 3 < 20; i2 += 4) {
            const vec v25 = splat(number(0.0f, 0u));
            vec s22 = v25;
            vec s23 = v25;
            vec s24 = v25;
            for (long b26 = 0; b26 < blocks; b26++) {
                const long v28 = (N - b26 * 8);
                const long v29 = (v28 < 8 ? v28 : 8);
                for (long n27 = 0; n27 < v29; n27++) {
                    const vec a31 = held(load_part(x1r + b26 * 432 + i2 + n27 * 20, 4));
                    s22 = mac(splat(y2[b26 * 432 + i1 * 8 + n27]), a31, s22);
                    s23 = mac(splat(y2[b26 * 432 + i1 * 8 + n27 + 8]), a31, s23);
                    s24 = mac(splat(y2[b26 * 432 + i1 * 8 + n27 + 16]), a31, s24);
                }
            }
            store_part(y12 + i1 * 20 + i2, s22, 4);
            store_part(y12 + i1 * 20 + i2 + 20, s23, 4);
            store_part(y12 + i1 * 20 + i2 + 40, s24, 4);
        }
    }
}
#endif

#if IN_PART(0)
/* y13[i<12] = sum[n](y11[n, i]) */
KERNEL void k10(long N, long from, long to, real *restrict y13, const real *restrict y2)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 + 11 < (to < 12 ? to : 12); i1 += 12) {
        const vec v14 = splat(number(0.0f, 0u));
        vec s2 = v14;
        vec s3 = v14;
        vec s4 = v14;
        vec s5 = v14;
        vec s6 = v14;
        vec s7 = v14;
        vec s8 = v14;
        vec s9 = v14;
        vec s10 = v14;
        vec s11 = v14;
        vec s12 = v14;
        vec s13 = v14;
        for (long b15 = 0; b15 < full; b15++) {
            s2 = add(s2, load(y2 + b15 * 432 + i1 * 8));
            s3 = add(s3, load(y2 + b15 * 432 + i1 * 8 + 8));
            s4 = add(s4, load(y2 + b15 * 432 + i1 * 8 + 16));
            s5 = add(s5, load(y2 + b15 * 432 + i1 * 8 + 24));
            s6 = add(s6, load(y2 + b15 * 432 + i1 * 8 + 32));
            s7 = add(s7, load(y2 + b15 * 432 + i1 * 8 + 40));
            s8 = add(s8, load(y2 + b15 * 432 + i1 * 8 + 48));
            s9 = add(s9, load(y2 + b15 * 432 + i1 * 8 + 56));
            s10 = add(s10, load(y2 + b15 * 432 + i1 * 8 + 64));
            s11 = add(s11, load(y2 + b15 * 432 + i1 * 8 + 72));
            s12 = add(s12, load(y2 + b15 * 432 + i1 * 8 + 80));
            s13 = add(s13, load(y2 + b15 * 432 + i1 * 8 + 88));
        }
        for (long b15 = full; b15 < blocks; b15++) {
            const mask v29 = live((N - b15 * 8));
            s2 = select(v29, add(s2, load(y2 + b15 * 432 + i1 * 8)), s2);
            s3 = select(v29, add(s3, load(y2 + b15 * 432 + i1 * 8 + 8)), s3);
            s4 = select(v29, add(s4, load(y2 + b15 * 432 + i1 * 8 + 16)), s4);
            s5 = select(v29, add(s5, load(y2 + b15 * 432 + i1 * 8 + 24)), s5);
            s6 = select(v29, add(s6, load(y2 + b15 * 432 + i1 * 8 + 32)), s6);
            s7 = select(v29, add(s7, load(y2 + b15 * 432 + i1 * 8 + 40)), s7);
            s8 = select(v29, add(s8, load(y2 + b15 * 432 + i1 * 8 + 48)), s8);
            s9 = select(v29, add(s9, load(y2 + b15 * 432 + i1 * 8 + 56)), s9);
            s10 = select(v29, add(s10, load(y2 + b15 * 432 + i1 * 8 + 64)), s10);
            s11 = select(v29, add(s11, load(y2 + b15 * 432 + i1 * 8 + 72)), s11);
            s12 = select(v29, add(s12, load(y2 + b15 * 432 + i1 * 8 + 80)), s12);
            s13 = select(v29, add(s13, load(y2 + b15 * 432 + i1 * 8 + 88)), s13);
        }
        const real v55 = hsum(s3);
        const real v56 = hsum(s4);
        const real v57 = hsum(s5);
        const real v58 = hsum(s6);
        const real v59 = hsum(s7);
        const real v60 = hsum(s8);
        const real v61 = hsum(s9);
        const real v62 = hsum(s10);
        const real v63 = hsum(s11);
        const real v64 = hsum(s12);
        const real v65 = hsum(s13);
        y13[i1] = hsum(s2);
        y13[i1 + 1] = v55;
        y13[i1 + 2] = v56;
        y13[i1 + 3] = v57;
        y13[i1 + 4] = v58;
        y13[i1 + 5] = v59;
        y13[i1 + 6] = v60;
        y13[i1 + 7] = v61;
        y13[i1 + 8] = v62;
        y13[i1 + 9] = v63;
        y13[i1 + 10] = v64;
        y13[i1 + 11] = v65;
    }
}
#endif

#if IN_PART(1)
/* y14[i<10, j<12] = sum[n](y9[n, i]*y2[n, j]) */
KERNEL void k11(long N, long from, long to, real *restrict y14, const real *restrict y6,
        const real *restrict y2r)
{
    const long blocks = (N + 7) / 8;
    for (long i1 = from; i1 + 4 < (to < 10 ? to : 10); i1 += 5) {
        for (long i2 = 0; i2 + 7 < 8; i2 += 8) {
            const vec v8 = splat(number(0.0f, 0u));
            vec s3 = v8;
            vec s4 = v8;
            vec s5 = v8;
            vec s6 = v8;
            vec s7 = v8;
            for (long b9 = 0; b9 < blocks; b9++) {
                const long v11 = (N - b9 * 8);
                const long v12 = (v11 < 8 ? v11 : 8);
                for (long n10 = 0; n10 < v12; n10++) {
                    const vec a14 = held(load(y2r + b9 * 432 + i2 + n10 * 12));
                    s3 = mac(splat(y6[b9 * 432 + i1 * 8 + n10]), a14, s3);
                    s4 = mac(splat(y6[b9 * 432 + i1 * 8 + n10 + 8]), a14, s4);
                    s5 = mac(splat(y6[b9 * 432 + i1 * 8 + n10 + 16]), a14, s5);
                    s6 = mac(splat(y6[b9 * 432 + i1 * 8 + n10 + 24]), a14, s6);
                    s7 = mac(splat(y6[b9 * 432 + i1 * 8 + n10 + 32]), a14, s7);
                }
            }
            store(y14 + i1 * 12 + i2, s3);
            store(y14 + i1 * 12 + i2 + 12, s4);
            store(y14 + i1 * 12 + i2 + 24, s5);
            store(y14 + i1 * 12 + i2 + 36, s6);
            store(y14 + i1 * 12 + i2 + 48, s7);
        }
        for (long i2 = 8; i2 + 3 < 12; i2 += 4) {
            const vec v29 = splat(number(0.0f, 0u));
            vec s24 = v29;
            vec s25 = v29;
            vec s26 = v29;
            vec s27 = v29;
            vec s28 = v29;
            for (long b30 = 0; b30 < blocks; b30++) {
                const long v32 = (N - b30 * 8);
                const long v33 = (v32 < 8 ? v32 : 8);
                for (long n31 = 0; n31 < v33; n31++) {
                    const vec a35 = held(load_part(y2r + b30 * 432 + i2 + n31 * 12, 4));
                    s24 = mac(splat(y6[b30 * 432 + i1 * 8 + n31]), a35, s24);
                    s25 = mac(splat(y6[b30 * 432 + i1 * 8 + n31 + 8]), a35, s25);
                    s26 = mac(splat(y6[b30 * 432 + i1 * 8 + n31 + 16]), a35, s26);
                    s27 = mac(splat(y6[b30 * 432 + i1 * 8 + n31 + 24]), a35, s27);
                    s28 = mac(splat(y6[b30 * 432 + i1 * 8 + n31 + 32]), a35, s28);
                }
            }
            store_part(y14 + i1 * 12 + i2, s24, 4);
            store_part(y14 + i1 * 12 + i2 + 12, s25, 4);
            store_part(y14 + i1 * 12 + i2 + 24, s26, 4);
            store_part(y14 + i1 * 12 + i2 + 36, s27, 4);
            store_part(y14 + i1 * 12 + i2 + 48, s28, 4);
        }
    }
}
#endif

#if IN_PART(1)
/* y15[i<10] = sum[n](y9[n, i]) */
KERNEL void k12(long N, long from, long to, real *restrict y15, const real *restrict y6)
{
    const long blocks = (N + 7) / 8;
    const long full = N / 8;
    for (long i1 = from; i1 + 9 < (to < 10 ? to : 10); i1 += 10) {
        const vec v12 = splat(number(0.0f, 0u));
        vec s2 = v12;
        vec s3 = v12;
        vec s4 = v12;
        vec s5 = v12;
        vec s6 = v12;
        vec s7 = v12;
        vec s8 = v12;
        vec s9 = v12;
        vec s10 = v12;
        vec s11 = v12;
        for (long b13 = 0; b13 < full; b13++) {
            s2 = add(s2, load(y6 + b13 * 432 + i1 * 8));
            s3 = add(s3, load(y6 + b13 * 432 + i1 * 8 + 8));
            s4 = add(s4, load(y6 + b13 * 432 + i1 * 8 + 16));
            s5 = add(s5, load(y6 + b13 * 432 + i1 * 8 + 24));
            s6 = add(s6, load(y6 + b13 * 432 + i1 * 8 + 32));
            s7 = add(s7, load(y6 + b13 * 432 + i1 * 8 + 40));
            s8 = add(s8, load(y6 + b13 * 432 + i1 * 8 + 48));
            s9 = add(s9, load(y6 + b13 * 432 + i1 * 8 + 56));
            s10 = add(s10, load(y6 + b13 * 432 + i1 * 8 + 64));
            s11 = add(s11, load(y6 + b13 * 432 + i1 * 8 + 72));
        }
        for (long b13 = full; b13 < blocks; b13++) {
            const mask v25 = live((N - b13 * 8));
            s2 = select(v25, add(s2, load(y6 + b13 * 432 + i1 * 8)), s2);
            s3 = select(v25, add(s3, load(y6 + b13 * 432 + i1 * 8 + 8)), s3);
            s4 = select(v25, add(s4, load(y6 + b13 * 432 + i1 * 8 + 16)), s4);
            s5 = select(v25, add(s5, load(y6 + b13 * 432 + i1 * 8 + 24)), s5);
            s6 = select(v25, add(s6, load(y6 + b13 * 432 + i1 * 8 + 32)), s6);
            s7 = select(v25, add(s7, load(y6 + b13 * 432 + i1 * 8 + 40)), s7);
            s8 = select(v25, add(s8, load(y6 + b13 * 432 + i1 * 8 + 48)), s8);
            s9 = select(v25, add(s9, load(y6 + b13 * 432 + i1 * 8 + 56)), s9);
            s10 = select(v25, add(s10, load(y6 + b13 * 432 + i1 * 8 + 64)), s10);
            s11 = select(v25, add(s11, load(y6 + b13 * 432 + i1 * 8 + 72)), s11);
        }
        const real v47 = hsum(s3);
        const real v48 = hsum(s4);
        const real v49 = hsum(s5);
        const real v50 = hsum(s6);
        const real v51 = hsum(s7);
        const real v52 = hsum(s8);
        const real v53 = hsum(s9);
        const real v54 = hsum(s10);
        const real v55 = hsum(s11);
        y15[i1] = hsum(s2);
        y15[i1 + 1] = v47;
        y15[i1 + 2] = v48;
        y15[i1 + 3] = v49;
        y15[i1 + 4] = v50;
        y15[i1 + 5] = v51;
        y15[i1 + 6] = v52;
        y15[i1 + 7] = v53;
        y15[i1 + 8] = v54;
        y15[i1 + 9] = v55;
    }
}
#endif

#if IN_PART(0)
/* y16[n, i<20] = sum[j<12](y11[n, j]*p1[j, i]) */
KERNEL void k13(long N, long from, long to, real *restrict y16, const real *restrict y2,
        const real *restrict p1)
{
    for (long b1 = from; b1 < to; b1++) {
        for (long i2 = 0; i2 + 9 < 20; i2 += 10) {
            const vec v13 = splat(number(0.0f, 0u));
            vec s3 = v13;
            vec s4 = v13;
            vec s5 = v13;
            vec s6 = v13;
            vec s7 = v13;
            vec s8 = v13;
            vec s9 = v13;
            vec s10 = v13;
            vec s11 = v13;
            vec s12 = v13;
            for (long r14 = 0; r14 < 12; r14++) {
                const vec a15 = held(load(y2 + b1 * 432 + r14 * 8));
                s3 = mac(a15, splat(p1[r14 * 20 + i2]), s3);
                s4 = mac(a15, splat(p1[r14 * 20 + i2 + 1]), s4);
                s5 = mac(a15, splat(p1[r14 * 20 + i2 + 2]), s5);
                s6 = mac(a15, splat(p1[r14 * 20 + i2 + 3]), s6);
                s7 = mac(a15, splat(p1[r14 * 20 + i2 + 4]), s7);
                s8 = mac(a15, splat(p1[r14 * 20 + i2 + 5]), s8);
                s9 = mac(a15, splat(p1[r14 * 20 + i2 + 6]), s9);
                s10 = mac(a15, splat(p1[r14 * 20 + i2 + 7]), s10);
                s11 = mac(a15, splat(p1[r14 * 20 + i2 + 8]), s11);
                s12 = mac(a15, splat(p1[r14 * 20 + i2 + 9]), s12);
            }
            store(y16 + b1 * 432 + i2 * 8, s3);
            store(y16 + b1 * 432 + i2 * 8 + 8, s4);
            store(y16 + b1 * 432 + i2 * 8 + 16, s5);
            store(y16 + b1 * 432 + i2 * 8 + 24, s6);
            store(y16 + b1 * 432 + i2 * 8 + 32, s7);
            store(y16 + b1 * 432 + i2 * 8 + 40, s8);
            store(y16 + b1 * 432 + i2 * 8 + 48, s9);
            store(y16 + b1 * 432 + i2 * 8 + 56, s10);
            store(y16 + b1 * 432 + i2 * 8 + 64, s11);
            store(y16 + b1 * 432 + i2 * 8 + 72, s12);
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
    real *const p3 = m[7];
    real *const p4 = m[8];
    real *const out_y8 = m[9];
    real *const out_y12 = m[10];
    real *const out_y13 = m[11];
    real *const out_y14 = m[12];
    real *const out_y15 = m[13];
    real *const out_y16 = m[14];
    real *const x1 = (blocks_memory + 0);
    real *const x2 = (blocks_memory + 256);
    real *const y2 = (blocks_memory + 160);
    real *const y3 = (blocks_memory + 0);
    real *const y4 = (blocks_memory + 80);
    real *const y5 = (blocks_memory + 96);
    real *const y6 = (blocks_memory + 352);
    real *const y7 = (blocks_memory + 80);
    real *const y9 = (blocks_memory + 352);
    real *const y11 = (blocks_memory + 160);
    real *const y16 = (blocks_memory + 0);
    real *const x1r = (blocks_memory + 0);
    real *const y2r = (blocks_memory + 256);
    real *const y8 = (common + 368);
    real *const y12 = (common + 0);
    real *const y13 = (common + 384);
    real *const y14 = (common + 240);
    real *const y15 = (common + 400);
    MARKS(m[15]);
    for (long step = first; step < last; step++) {
        const long begin = step * batch, N = samples - begin < batch ? samples - begin : batch;
        const long blocks = (N + 7) / 8;
        const long own = blocks * worker / workers, end = blocks * (worker + 1) / workers;
        if (meet(t)) return -1;  /* nothing is written before all are here */
        MARK(0);
        for (long b = own; b < end; b++) {
            const real *row[8];
            ROWS(row, given_x1, 20, N - b * 8, order[begin + b * 8 + s]);
            take(x1 + b * 432 + 0, row, 0, 20);
        }
        MARK(2);
        for (long b = own; b < end; b++) {
            const real *row[8];
            ROWS(row, given_x2, 10, N - b * 8, order[begin + b * 8 + s]);
            take(x2 + b * 432 + 0, row, 0, 10);
        }
        MARK(3);
        if (step + 1 < last) {
            const long next = begin + batch, stop = next + end * 8;
            for (long at = next + own * 8; at < stop && at < samples; at++) {
                fetch(given_x1 + order[at] * 20, 80);
                fetch(given_x2 + order[at] * 10, 40);
            }
        }
        MARK(4);
        k1(N, own, end, y2, p2, p1, x1);
        MARK(5);
        k2(N, own, end, y3, p4, p3, y2);
        MARK(6);
        k3(N, own, end, y4, y5, y3);
        MARK(7);
        k4(N, own, end, y6, y3, y4, y5);
        MARK(8);
        k5(N, own, end, y4, y5, x2, y3);
        meet(t);
        MARK(9);
        if (worker == 0) k6(N, 0, 0, y8, y4);
        MARK(11);
        k7(N, own, end, y6, x2);
        MARK(12);
        for (long b = own; b < end; b++)
            give(y2r + b * 432, 12, y2 + b * 432, 12, 8);
        MARK(13);
        k8(N, own, end, y2, y6, p3);
        meet(t);
        MARK(14);
        for (long b = own; b < end; b++) {
            const real *row[8];
            ROWS(row, given_x1, 20, N - b * 8, order[begin + b * 8 + s]);
            for (int s = 0; s < 8; s++) {
                copy(x1r + b * 432 + s * 20 + 0, row[s] + 0, 20);
            }
        }
        meet(t);
        MARK(16);
        {
            long from, to;
            share(12, 3, worker, workers, &from, &to);
            if (from < to) k9(N, from, to, y12, y2, x1r);
        }
        MARK(18);
        {
            long from, to;
            share(12, 12, worker, workers, &from, &to);
            if (from < to) k10(N, from, to, y13, y2);
        }
        MARK(19);
        {
            long from, to;
            share(10, 5, worker, workers, &from, &to);
            if (from < to) k11(N, from, to, y14, y6, y2r);
        }
        MARK(20);
        {
            long from, to;
            share(10, 10, worker, workers, &from, &to);
            if (from < to) k12(N, from, to, y15, y6);
        }
        meet(t);
        MARK(21);
        k13(N, own, end, y16, y2, p1);
        MARK(23);
        if (worker == 0) copy(out_y8 + step * 1 + 0, y8 + 0, 1);
        MARK(24);
        if (worker == 0) copy(out_y12 + step * 240 + 0, y12 + 0, 240);
        MARK(25);
        if (worker == 0) copy(out_y13 + step * 12 + 0, y13 + 0, 12);
        MARK(26);
        if (worker == 0) copy(out_y14 + step * 120 + 0, y14 + 0, 120);
        MARK(27);
        if (worker == 0) copy(out_y15 + step * 10 + 0, y15 + 0, 10);
        MARK(28);
        for (long b = own; b < end; b++) {
            give(out_y16 + (begin + b * 8) * 20 + 0, 20, y16 + b * 432 + 0, 20, N - b * 8);
        }
        MARK(29);
    }
    return -1;
}
#endif

(* What a dual number stands for: over the real numbers it is a curve, by its value and its derivative at 0. Each rule of
   calculus of Rules.v and each scalar law is a theorem of analysis here, under the id of the rule or the name of the
   function. It comes after the section of Rules.v and stands on Coq's axioms of the real numbers. *)
Require Import Reals Lra Qreals.
Local Open Scope R_scope.

Notation rsum := (sum R 0 Rplus).
Notation rbracket := (bracket R 0 1).

(* The real numbers are a commutative ring that holds the rational ones. *)
Lemma R_ring : ring_theory 0 1 Rplus Rmult Rminus Ropp (@eq R).
Proof. exact RTheory. Qed.
Lemma R_numbers : ring_morph 0 1 Rplus Rmult Rminus Ropp (@eq R) 0%Q 1%Q Qplus Qmult Qminus Qopp Qeq_bool Q2R.
Proof.
  constructor; intros; [unfold Q2R; simpl; lra | unfold Q2R; simpl; lra | apply Q2R_plus | apply Q2R_minus
    | apply Q2R_mult | apply Q2R_opp | now apply Qeq_eqR, Qeq_bool_iff].
Qed.

Definition curve (c : R -> R) (a : R * R) : Prop := c 0 = fst a /\ derivable_pt_lim c 0 (snd a).

Lemma lim_ext f g x l : (forall t, f t = g t) -> derivable_pt_lim f x l -> derivable_pt_lim g x l.
Proof. intros E H e P. destruct (H e P) as [r D]. exists r. intros h. rewrite <- !E. apply D. Qed.
Lemma lim_near f g x l r : 0 < r -> (forall t, Rabs (t - x) < r -> f t = g t) ->
  derivable_pt_lim f x l -> derivable_pt_lim g x l.
Proof.
  intros P E H e Q. destruct (H e Q) as [d D].
  assert (M : 0 < Rmin r d) by (apply Rmin_glb_lt; [assumption | apply cond_pos]).
  exists (mkposreal _ M). intros h N L. simpl in L. rewrite <- !E.
  - apply D; [assumption|]. eapply Rlt_le_trans; [exact L | apply Rmin_r].
  - rewrite Rminus_eq_0, Rabs_R0. assumption.
  - replace (x + h - x) with h by lra. eapply Rlt_le_trans; [exact L | apply Rmin_l].
Qed.
Lemma lim_is f x l m : derivable_pt_lim f x l -> l = m -> derivable_pt_lim f x m.
Proof. now intros H <-. Qed.
Lemma curve_ext c d a : (forall t, c t = d t) -> curve c a -> curve d a.
Proof. intros E [V L]. split; [now rewrite <- E | now apply (lim_ext c)]. Qed.

(* derivative.independent *)
Theorem curve_still a : curve (fun _ => a) (still R 0 a).
Proof. split; [reflexivity | apply derivable_pt_lim_const]. Qed.

(* derivative.component: x moves along v *)
Theorem curve_line x v : curve (fun t => x + t * v) (x, v).
Proof.
  split; simpl; [lra|].
  cut (derivable_pt_lim (fun t => x + t * v) 0 (0 + (1 * v + 0 * 0))); [now replace (0 + (1 * v + 0 * 0)) with v by lra|].
  apply (derivable_pt_lim_plus (fun _ => x) (fun t => t * v)); [apply derivable_pt_lim_const|].
  apply (derivable_pt_lim_mult id (fun _ => v)); [apply derivable_pt_lim_id | apply derivable_pt_lim_const].
Qed.

(* derivative.sum *)
Theorem curve_add c d a b : curve c a -> curve d b -> curve (fun t => c t + d t) (dadd R Rplus a b).
Proof. intros [A A'] [B B']. split; simpl; [congruence | now apply (derivable_pt_lim_plus c d)]. Qed.

(* derivative.product *)
Theorem curve_mul c d a b : curve c a -> curve d b -> curve (fun t => c t * d t) (dmul R Rplus Rmult a b).
Proof. intros [A A'] [B B']. split; simpl; [congruence|]. rewrite <- A, <- B. now apply (derivable_pt_lim_mult c d). Qed.
Theorem curve_left k c a : curve c a -> curve (fun t => k * c t) (dleft R Rmult k a).
Proof. intros [A A']. split; simpl; [congruence | now apply derivable_pt_lim_scal]. Qed.
Theorem curve_right k c a : curve c a -> curve (fun t => c t * k) (dright R Rmult a k).
Proof.
  intros C. destruct (curve_left k c a C) as [A A']. split; simpl in *; [rewrite <- (proj1 C); reflexivity|].
  rewrite Rmult_comm. apply (lim_ext (fun t => k * c t)); [intros; apply Rmult_comm | assumption].
Qed.

(* derivative.reduction *)
Theorem curve_sum n c a : (forall i, 0 <= i < n -> curve (c i) (a i))%Z ->
  curve (fun t => rsum n (fun i => c i t)) (dsum R 0 Rplus n a).
Proof.
  intros H. unfold sum, dsum, curve. cbn [fst snd].
  assert (G : forall m, (Z.of_nat m <= Z.max n 0)%Z ->
    first R 0 Rplus m (fun i => c i 0) = first R 0 Rplus m (fun i => fst (a i))
    /\ derivable_pt_lim (fun t => first R 0 Rplus m (fun i => c i t)) 0 (first R 0 Rplus m (fun i => snd (a i)))).
  { induction m; intros B; [split; [reflexivity | apply derivable_pt_lim_const]|].
    destruct IHm as [V L]; [lia|]. destruct (H (Z.of_nat m)) as [V' L']; [lia|]. cbn [first]. split; [congruence|].
    now apply (derivable_pt_lim_plus (fun t => first R 0 Rplus m (fun i => c i t)) (c (Z.of_nat m))). }
  unfold sum. apply G. lia.
Qed.

(* padding: whether a subscript is inside does not move *)
Theorem curve_read b c a o : (b = true -> curve c a) -> curve (fun t => read R b (c t) o) (dread R 0 b a o).
Proof. destruct b; intros C; [destruct (C eq_refl); now split | apply (curve_still o)]. Qed.

(* derivative.function: of one argument, and of two that it is differentiable by along every curve *)
Theorem curve_fun g g' c a : derivable_pt_lim g (fst a) (g' (fst a)) -> curve c a ->
  curve (fun t => g (c t)) (dfun R Rmult g g' a).
Proof. intros G [A A']. split; simpl; [congruence|]. apply (derivable_pt_lim_comp c g); [|rewrite A]; assumption. Qed.

(* derivative.power: whole ones, of either sign where the base is not 0, and all of a positive base *)
Theorem power_whole n x : derivable_pt_lim (fun t => t ^ n) x (INR n * x ^ pred n).
Proof. apply derivable_pt_lim_pow. Qed.
Theorem power_reciprocal x : x <> 0 -> derivable_pt_lim Rinv x (- (/ x * / x)).
Proof.
  intros N. replace (- (/ x * / x)) with ((0 * x - 1 * 1) / Rsqr x) by (unfold Rsqr; field; assumption).
  apply (lim_ext (div_fct (fct_cte 1) id)); [intros; unfold div_fct, fct_cte, id; lra|].
  apply (derivable_pt_lim_div (fct_cte 1) id x 0 1); [apply derivable_pt_lim_const | apply derivable_pt_lim_id | assumption].
Qed.
Theorem power_real r x : 0 < x -> derivable_pt_lim (fun t => Rpower t r) x (r * Rpower x (r - 1)).
Proof. apply derivable_pt_lim_power. Qed.

(* The laws of the scalar functions, where ir/functions.py has them. Coq's library has no erf. *)
Lemma chained f g x l m k : derivable_pt_lim g x l -> derivable_pt_lim f (g x) m -> k = m * l ->
  derivable_pt_lim (fun t => f (g t)) x k.
Proof. intros G F ->. exact (derivable_pt_lim_comp g f x l m G F). Qed.
Lemma shifted a x : derivable_pt_lim (fun t => a + t) x 1.
Proof.
  replace 1 with (0 + 1) by lra.
  apply (derivable_pt_lim_plus (fun _ => a) id); [apply derivable_pt_lim_const | apply derivable_pt_lim_id].
Qed.
Definition expm1 x := exp x - 1.
Definition log1p x := ln (1 + x).
Definition sigmoid x := / (1 + exp (- x)).
Definition softplus x := ln (1 + exp x).
Definition step x := if Rlt_dec 0 x then 1 else 0.
Definition sign x := if Rlt_dec 0 x then 1 else if Rlt_dec x 0 then -1 else 0.
Theorem law_exp x : derivable_pt_lim exp x (exp x).
Proof. apply derivable_pt_lim_exp. Qed.
Theorem curve_exp c a : curve c a -> curve (fun t => exp (c t)) (dfun R Rmult exp exp a).
Proof. apply curve_fun, law_exp. Qed.
Theorem law_expm1 x : derivable_pt_lim expm1 x (expm1 x + 1).
Proof.
  unfold expm1. replace (exp x - 1 + 1) with (exp x - 0) by lra.
  apply (derivable_pt_lim_minus exp (fun _ => 1)); [apply law_exp | apply derivable_pt_lim_const].
Qed.
Theorem law_log x : 0 < x -> derivable_pt_lim ln x (/ x).
Proof. apply derivable_pt_lim_ln. Qed.
Theorem law_log1p x : 0 < 1 + x -> derivable_pt_lim log1p x (/ (1 + x)).
Proof. intros P. apply (chained ln _ x 1 (/ (1 + x))); [apply shifted | now apply law_log | lra]. Qed.
Theorem law_sigmoid x : derivable_pt_lim sigmoid x (sigmoid x * (1 - sigmoid x)).
Proof.
  assert (P := exp_pos (- x)).
  apply (chained Rinv (fun t => 1 + exp (- t)) x (- exp (- x)) (- (/ (1 + exp (- x)) * / (1 + exp (- x))))).
  - apply (chained (fun y => 1 + exp y) Ropp x (-1) (exp (- x))); [| |lra].
    + apply (derivable_pt_lim_opp id x 1), derivable_pt_lim_id.
    + apply (chained (Rplus 1) exp (- x) (exp (- x)) 1); [apply law_exp | apply shifted | lra].
  - apply power_reciprocal. lra.
  - unfold sigmoid. field. lra.
Qed.
Theorem law_tanh x : derivable_pt_lim tanh x (1 - tanh x ^ 2).
Proof.
  assert (P : cosh x <> 0).
  { unfold cosh. assert (A := exp_pos x). assert (B := exp_pos (- x)). lra. }
  replace (1 - tanh x ^ 2) with ((cosh x * cosh x - sinh x * sinh x) / Rsqr (cosh x))
    by (unfold tanh, Rsqr; field; assumption).
  apply (derivable_pt_lim_div sinh cosh); [apply derivable_pt_lim_sinh | apply derivable_pt_lim_cosh | assumption].
Qed.
Theorem law_sin x : derivable_pt_lim sin x (cos x).
Proof. apply derivable_pt_lim_sin. Qed.
Theorem law_cos x : derivable_pt_lim cos x (- sin x).
Proof. apply derivable_pt_lim_cos. Qed.
Theorem law_softplus x : derivable_pt_lim softplus x (sigmoid x).
Proof.
  assert (P := exp_pos x). apply (chained ln (fun t => 1 + exp t) x (exp x) (/ (1 + exp x))).
  - apply (chained (Rplus 1) exp x (exp x) 1); [apply law_exp | apply shifted | lra].
  - apply law_log. lra.
  - unfold sigmoid. rewrite exp_Ropp. field. lra.
Qed.
Theorem law_step x : x <> 0 -> derivable_pt_lim step x 0.
Proof.
  intros N. apply (lim_near (fun _ => step x) _ x 0 (Rabs x)); [now apply Rabs_pos_lt | | apply derivable_pt_lim_const].
  intros t D. unfold step. unfold Rabs in D. destruct (Rcase_abs x), (Rcase_abs (t - x)), (Rlt_dec 0 x), (Rlt_dec 0 t); lra.
Qed.
Theorem law_relu x : x <> 0 -> derivable_pt_lim (fun t => Rmax t 0) x (step x).
Proof.
  intros N. unfold step. destruct (Rlt_dec 0 x) as [P|P].
  - apply (lim_near id _ x 1 x); [assumption | | apply derivable_pt_lim_id].
    intros t D. apply Rabs_def2 in D. unfold id. rewrite Rmax_left; lra.
  - apply (lim_near (fun _ => 0) _ x 0 (- x)); [lra | | apply derivable_pt_lim_const].
    intros t D. apply Rabs_def2 in D. rewrite Rmax_right; lra.
Qed.
Theorem law_abs x : x <> 0 -> derivable_pt_lim Rabs x (sign x).
Proof.
  intros N. unfold sign. destruct (Rlt_dec 0 x) as [P|P]; [now apply Rabs_derive_1|].
  destruct (Rlt_dec x 0); [now apply Rabs_derive_2 | lra].
Qed.

(* Two curves keep their order for a while. *)
Lemma apart c d a b : curve c a -> curve d b -> fst a < fst b ->
  exists r, 0 < r /\ forall t, Rabs (t - 0) < r -> c t < d t.
Proof.
  intros [A A'] [B B'] L.
  assert (C : continuity_pt (fun t => d t - c t) 0).
  { apply derivable_continuous_pt. exists (snd b - snd a). now apply (derivable_pt_lim_minus d c). }
  destruct (C (fst b - fst a)) as [r [P H]]; [lra|]. exists r. split; [exact P|]. intros t D.
  destruct (Req_dec t 0) as [->|N]; [rewrite A, B; lra|].
  specialize (H t). simpl in H. unfold R_dist, D_x, no_cond in H. rewrite A, B in H.
  assert (Q := H (conj (conj I (not_eq_sym N)) D)). apply Rabs_def2 in Q. lra.
Qed.
(* max, min: of two, off the ties *)
Theorem curve_max_of_two c d a b : curve c a -> curve d b -> fst a <> fst b ->
  curve (fun t => Rmax (c t) (d t)) (Rmax (fst a) (fst b), (1 - step (fst b - fst a)) * snd a + step (fst b - fst a) * snd b).
Proof.
  intros C D N. unfold step. destruct (Rlt_dec 0 (fst b - fst a)) as [L|L].
  - destruct (apart c d a b C D) as [r [P H]]; [lra|]. split; cbn [fst snd]; [now rewrite (proj1 C), (proj1 D)|].
    replace ((1 - 1) * snd a + 1 * snd b) with (snd b) by lra. apply (lim_near d _ 0 _ r P); [|apply D].
    intros t Q. specialize (H t Q). rewrite Rmax_right; lra.
  - destruct (apart d c b a D C) as [r [P H]]; [lra|]. split; cbn [fst snd]; [now rewrite (proj1 C), (proj1 D)|].
    replace ((1 - 0) * snd a + 0 * snd b) with (snd a) by lra. apply (lim_near c _ 0 _ r P); [|apply C].
    intros t Q. specialize (H t Q). rewrite Rmax_left; lra.
Qed.

(* derivative.argmax, derivative.max: the first greatest of n, and where it alone is greatest *)
Fixpoint first_greatest (m : nat) (a : Z -> R) : Z :=
  match m with
  | O => 0%Z
  | S k => let b := first_greatest k a in if Rlt_dec (a b) (a (Z.of_nat (S k))) then Z.of_nat (S k) else b
  end.
Definition rargmax (n : Z) (a : Z -> R) : Z := first_greatest (pred (Z.to_nat n)) a.
Definition rmax (n : Z) (a : Z -> R) : R := if (0 <? n)%Z then a (rargmax n a) else 0.
Definition greatest n (a : Z -> R) k := (0 <= k < n)%Z /\ forall i, (0 <= i < n)%Z -> i <> k -> a i < a k.
Lemma first_in m a : (0 <= first_greatest m a <= Z.of_nat m)%Z.
Proof. induction m; cbn [first_greatest]; [lia|]. destruct (Rlt_dec _ _); lia. Qed.
Lemma argmax_greatest n a k : greatest n a k -> rargmax n a = k.
Proof.
  intros [R G]. unfold rargmax.
  assert (H : forall m, (k <= Z.of_nat m < n)%Z -> first_greatest m a = k).
  { induction m; intros B; cbn [first_greatest]; [lia|]. destruct (Z.eq_dec k (Z.of_nat (S m))) as [E|E].
    - assert (Q := first_in m a). rewrite <- E. destruct (Rlt_dec _ _) as [L|L]; [reflexivity|].
      contradict L. apply G; lia.
    - rewrite IHm by lia. destruct (Rlt_dec _ _) as [L|L]; [|reflexivity].
      specialize (G (Z.of_nat (S m))). assert (a (Z.of_nat (S m)) < a k) by (apply G; lia). lra. }
  apply H. lia.
Qed.
Lemma max_greatest n a k : greatest n a k -> rmax n a = a k.
Proof.
  intros G. unfold rmax. rewrite (argmax_greatest n a k G). destruct G as [B _]. now rewrite (proj2 (Z.ltb_lt 0 n)) by lia.
Qed.
Lemma stays_greatest n c f k : (forall i, 0 <= i < n -> curve (c i) (f i))%Z -> greatest n (fun i => fst (f i)) k ->
  exists r, 0 < r /\ forall t, Rabs (t - 0) < r -> greatest n (fun i => c i t) k.
Proof.
  intros C [R G].
  assert (H : forall m, (Z.of_nat m <= n)%Z -> exists r, 0 < r /\ forall t, Rabs (t - 0) < r ->
    forall i, (0 <= i < Z.of_nat m)%Z -> i <> k -> c i t < c k t).
  { induction m; intros B; [exists 1; split; [lra | lia]|]. destruct IHm as [r [P Q]]; [lia|].
    destruct (Z.eq_dec (Z.of_nat m) k) as [E|E].
    - exists r. split; [assumption|]. intros t D i I N. apply (Q t D); lia.
    - destruct (apart (c (Z.of_nat m)) (c k) (f (Z.of_nat m)) (f k)) as [s [S T]]; try apply C; try apply G; try lia.
      exists (Rmin r s). split; [now apply Rmin_glb_lt|]. intros t D i I N.
      destruct (Z.eq_dec i (Z.of_nat m)) as [->|M].
      + apply T. eapply Rlt_le_trans; [exact D | apply Rmin_r].
      + apply (Q t); [eapply Rlt_le_trans; [exact D | apply Rmin_l] | lia | assumption]. }
  destruct (H (Z.to_nat n)) as [r [P Q]]; [lia|]. exists r. split; [assumption|]. intros t D. split; [assumption|].
  intros i I N. apply (Q t D); lia.
Qed.
Theorem curve_max n c f k : (forall i, 0 <= i < n -> curve (c i) (f i))%Z -> greatest n (fun i => fst (f i)) k ->
  curve (fun t => rmax n (fun i => c i t)) (dmax R 0 1 Rplus Rmult rmax rargmax n nil f).
Proof.
  intros C G. pose proof G as [I _]. destruct (stays_greatest n c f k C G) as [r [P H]]. destruct (C k I) as [V L].
  assert (S : snd (dmax R 0 1 Rplus Rmult rmax rargmax n nil f) = snd (f k)).
  { cbn [dmax positions flat entrywise nested snd]. rewrite (argmax_greatest _ _ _ G).
    rewrite (one_term R 0 1 Rplus Rmult Rminus Ropp Q2R R_ring R_numbers n k).
    - rewrite (proj2 (inside_spec k n) I). unfold at_id. rewrite Z.eqb_refl. cbn [bracket]. ring.
    - intros i _ N. unfold at_id. rewrite (proj2 (Z.eqb_neq i k) N). cbn [bracket]. ring. }
  split.
  - rewrite (max_greatest n _ k) by (apply H; rewrite Rminus_eq_0, Rabs_R0; assumption).
    cbn [dmax positions flat entrywise fst]. now rewrite (max_greatest n _ k).
  - rewrite S. apply (lim_near (c k) _ 0 _ r P); [|exact L].
    intros t D. now rewrite (max_greatest n _ k) by now apply H.
Qed.
Theorem argmax_still n c f k : (forall i, 0 <= i < n -> curve (c i) (f i))%Z -> greatest n (fun i => fst (f i)) k ->
  exists r, 0 < r /\ forall t, Rabs (t - 0) < r -> rargmax n (fun i => c i t) = k.
Proof.
  intros C G. destruct (stays_greatest n c f k C G) as [r [P H]]. exists r. split; [assumption|].
  intros t D. now apply argmax_greatest, H.
Qed.

(* derivative.logsumexp *)
Definition rlogsumexp n a := ln (rsum n (fun i => exp (a i))).
Lemma sum_positive n a : (0 < n)%Z -> (forall i, 0 < a i) -> 0 < rsum n a.
Proof.
  intros N H. unfold sum. destruct (Z.to_nat n) as [|m] eqn:E; [lia|]. clear E N.
  induction m; cbn [first] in *; [specialize (H 0%Z); simpl; lra|]. specialize (H (Z.of_nat (S m))). lra.
Qed.
Theorem curve_logsumexp n c f : (0 < n)%Z -> (forall i, 0 <= i < n -> curve (c i) (f i))%Z ->
  curve (fun t => rlogsumexp n (fun i => c i t)) (dlogsumexp R 0 Rplus Rmult Q2R exp rlogsumexp n nil f).
Proof.
  intros N C. set (S := rsum n (fun i => exp (fst (f i)))).
  assert (P : 0 < S) by (apply sum_positive; [assumption | intros; apply exp_pos]).
  assert (Q := curve_sum n (fun i t => exp (c i t)) (fun i => dfun R Rmult exp exp (f i))
    (fun i I => curve_fun exp exp (c i) (f i) (law_exp _) (C i I))).
  destruct (curve_fun ln Rinv _ (dsum R 0 Rplus n (fun i => dfun R Rmult exp exp (f i))) (law_log S P) Q) as [V L].
  split; [exact V|].
  unfold rlogsumexp at 1. cbn [dlogsumexp positions flat entrywise nested snd] in *.
  match goal with |- derivable_pt_lim _ _ ?v => match type of L with derivable_pt_lim _ _ ?w => replace v with w; [exact L|] end end.
  cbn [dfun dsum fst snd]. rewrite (mul_sum R 0 1 Rplus Rmult Rminus Ropp Q2R R_ring R_numbers).
  apply sum_ext. intros i _. fold S. unfold rlogsumexp. fold S.
  replace (Q2R (-1 # 1) * ln S) with (- ln S) by (unfold Q2R; simpl; lra).
  rewrite exp_plus, exp_Ropp, exp_ln by assumption. ring.
Qed.

(* These real functions are what the laws of Rules.v ask for. *)
Definition rpower (q : Q) (a : R) : R := match Qden q with xH => powerRZ a (Qnum q) | _ => Rpower a (Q2R q) end.
Lemma rpower_one a : rpower 1 a = a.
Proof. unfold rpower. simpl. ring. Qed.
Lemma argmax_same n a b : same R a b n -> rargmax n a = rargmax n b.
Proof.
  intros E. unfold rargmax. destruct (Z.to_nat n) as [|m] eqn:M; [reflexivity|]. cbn [pred].
  assert (H : forall k, (k <= m)%nat -> first_greatest k a = first_greatest k b).
  { induction k; intros L; cbn [first_greatest]; [reflexivity|]. rewrite IHk by lia.
    assert (Q := first_in k b). rewrite !E by lia. reflexivity. }
  now apply H.
Qed.
Lemma max_same n a b : same R a b n -> rmax n a = rmax n b.
Proof.
  intros E. unfold rmax. rewrite (argmax_same n a b E). destruct (Z.ltb_spec 0 n) as [N|N]; [|reflexivity]. apply E.
  assert (Q := first_in (pred (Z.to_nat n)) b). unfold rargmax. lia.
Qed.
Lemma logsumexp_same n a b : same R a b n -> rlogsumexp n a = rlogsumexp n b.
Proof. intros E. unfold rlogsumexp. f_equal. apply sum_ext. intros i I. now rewrite E. Qed.

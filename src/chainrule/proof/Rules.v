(* The rules of chainrule's derivations as theorems: for all values, over any commutative ring that holds the rational
   numbers, for sums of any length. A theorem stands under the id of the rule of derive/ that it is about. Nothing is
   assumed but the variables and hypotheses of `Chainrule`; a printed derivation stands in that section too. *)
Require Import ZArith QArith Lia Ring Bool.
Open Scope Z_scope.

Section Chainrule.
Variable K : Type.
Variables (zero one : K) (add mul sub : K -> K -> K) (opp : K -> K) (num : Q -> K).
Hypothesis K_ring : ring_theory zero one add mul sub opp (@eq K).
Hypothesis K_numbers :
  ring_morph zero one add mul sub opp (@eq K) 0%Q 1%Q Qplus Qmult Qminus Qopp Qeq_bool num.

Ltac rational t :=
  match t with
  | num (Qmake ?n ?d) =>
      match isZcst n with true => match isPcst d with true => constr:(Qmake n d) | _ => constr:(NotConstant) end
      | _ => constr:(NotConstant) end
  | _ => constr:(NotConstant)
  end.
Add Ring K_ring : K_ring (morphism K_numbers, constants [rational]).

Declare Scope K_scope.
Delimit Scope K_scope with K.
Bind Scope K_scope with K.
Notation "a + b" := (add a b) : K_scope.
Notation "a * b" := (mul a b) : K_scope.

(* What the lines are made of. *)

Fixpoint first (n : nat) (f : Z -> K) : K :=
  match n with O => zero | S m => (first m f + f (Z.of_nat m))%K end.
Definition sum (n : Z) (f : Z -> K) : K := first (Z.to_nat n) f.            (* the sum over 0 <= i < n of f i *)
Definition bracket (b : bool) : K := if b then one else zero.
Definition inside (a n : Z) : bool := ((0 <=? a) && (a <? n)).
Definition at_id (a b : Z) : bool := (a =? b).              (* an index at what a tensor of numbers says *)
Definition read (b : bool) (value outside : K) : K := if b then value else outside.   (* a padded read *)

(* Dual numbers: a value and its tangent. A derivative is a tangent. *)

Definition dual : Type := (K * K)%type.
Definition still (a : K) : dual := (a, zero).
Definition dadd (a b : dual) : dual := ((fst a + fst b)%K, (snd a + snd b)%K).
Definition dmul (a b : dual) : dual := ((fst a * fst b)%K, (snd a * fst b + fst a * snd b)%K).
Definition dleft (a : K) (b : dual) : dual := ((a * fst b)%K, (a * snd b)%K).
Definition dright (a : dual) (b : K) : dual := ((fst a * b)%K, (snd a * b)%K).
Definition dsum (n : Z) (f : Z -> dual) : dual := (sum n (fun i => fst (f i)), sum n (fun i => snd (f i))).
Definition dread (b : bool) (value : dual) (outside : K) : dual :=
  (read b (fst value) outside, read b (snd value) zero).
Definition dfun (g g' : K -> K) (a : dual) : dual := (g (fst a), (g' (fst a) * snd a)%K).
Definition dfun2 (g g1 g2 : K -> K -> K) (a b : dual) : dual :=
  (g (fst a) (fst b), (g1 (fst a) (fst b) * snd a + g2 (fst a) (fst b) * snd b)%K).

(* Functions of which only the laws below are known. *)

Variable power : Q -> K -> K.
Hypothesis power_one : forall a, power 1 a = a.
Definition dpower (r s : Q) (a : dual) : dual := (power r (fst a), (num r * power s (fst a) * snd a)%K).
Variables (exp : K -> K) (max logsumexp : Z -> (Z -> K) -> K) (argmax : Z -> (Z -> K) -> Z).
Definition same (f g : Z -> K) n := forall i, (0 <= i < n)%Z -> f i = g i.
Hypothesis max_ext : forall n f g, same f g n -> max n f = max n g.
Hypothesis argmax_ext : forall n f g, same f g n -> argmax n f = argmax n g.
Hypothesis logsumexp_ext : forall n f g, same f g n -> logsumexp n f = logsumexp n g.
Hypothesis max_constant : forall n c, (0 < n)%Z -> max n (fun _ => c) = c.

(* A window: entries at several indices, of extents n and those of a list, are entries at its positions, counted with
   the last index fastest. Sums over it are nested. *)
Definition cells (n m : Z) : Z := if (0 <? m)%Z then n * m else 0.
Definition joined {A : Type} (m : Z) (f : Z -> Z -> A) (p : Z) : A := f (p / m)%Z (p mod m)%Z.
Fixpoint positions (n : Z) (w : list Z) : Z := match w with nil => n | cons m r => positions (cells n m) r end.
Fixpoint entries (A : Type) (w : list Z) : Type := match w with nil => A | cons _ r => Z -> entries A r end.
Fixpoint entrywise {A B : Type} (g : A -> B) (w : list Z) : entries A w -> entries B w :=
  match w with nil => fun f => g f | cons _ r => fun f j => entrywise g r (f j) end.
Fixpoint flat {A : Type} (w : list Z) : (Z -> entries A w) -> Z -> A :=
  match w with nil => fun f => f | cons m r => fun f => flat r (joined m f) end.
Fixpoint nested {A : Type} (g : Z -> A -> K) (w : list Z) (p : Z) : entries A w -> K :=
  match w with nil => fun f => g p f | cons m r => fun f => sum m (fun j => nested g r (m * p + j) (f j)) end.

Definition dmax n w (f : Z -> entries dual w) : dual :=
  let a := flat w (fun i => entrywise fst w (f i)) in
  let weight p := bracket (at_id p (argmax (positions n w) a)) in
  (max (positions n w) a, sum n (fun i => nested (fun p b => weight p * snd b)%K w i (f i))).
Definition dlogsumexp n w (f : Z -> entries dual w) : dual :=
  let a := flat w (fun i => entrywise fst w (f i)) in
  let weight b := exp (fst b + num (-1 # 1) * logsumexp (positions n w) a) in
  (logsumexp (positions n w) a, sum n (fun i => nested (fun _ b => weight b * snd b)%K w i (f i))).

(* Sums. *)

Open Scope K_scope.

Lemma first_ext n f g : (forall i, 0 <= i < Z.of_nat n -> f i = g i)%Z -> first n f = first n g.
Proof. induction n; intros H; simpl; [reflexivity|]. rewrite IHn, H; [reflexivity| |]; intros; try apply H; lia. Qed.
Lemma sum_ext n f g : (forall i, 0 <= i < n -> f i = g i)%Z -> sum n f = sum n g.
Proof. intros H. apply first_ext. intros; apply H; lia. Qed.
Lemma sum_zero n : sum n (fun _ => zero) = zero.
Proof. unfold sum. induction (Z.to_nat n); simpl; [|rewrite IHn0]; ring. Qed.
Lemma sum_vanish n f : (forall i, 0 <= i < n -> f i = zero)%Z -> sum n f = zero.
Proof. intros H. rewrite <- (sum_zero n). now apply sum_ext. Qed.
Lemma sum_add n f g : sum n (fun i => f i + g i) = sum n f + sum n g.
Proof. unfold sum. induction (Z.to_nat n); simpl; [|rewrite IHn0]; ring. Qed.
Lemma mul_sum n a f : a * sum n f = sum n (fun i => a * f i).
Proof. unfold sum. induction (Z.to_nat n); simpl; [|rewrite <- IHn0]; ring. Qed.
Lemma sum_mul n a f : sum n f * a = sum n (fun i => f i * a).
Proof. unfold sum. induction (Z.to_nat n); simpl; [|rewrite <- IHn0]; ring. Qed.
Lemma sum_swap n m f : sum n (fun i => sum m (fun j => f i j)) = sum m (fun j => sum n (fun i => f i j)).
Proof.
  unfold sum at 1 4. induction (Z.to_nat n); simpl.
  - symmetry. apply sum_vanish. reflexivity.
  - rewrite IHn0, <- sum_add. reflexivity.
Qed.
Lemma sum_inner n m f g :
  (forall j, 0 <= j < m -> sum n (fun i => f i j) = g j)%Z -> sum n (fun i => sum m (fun j => f i j)) = sum m g.
Proof. intros H. rewrite sum_swap. now apply sum_ext. Qed.

Lemma inside_spec a n : inside a n = true <-> (0 <= a < n)%Z.
Proof using. unfold inside. rewrite andb_true_iff, Z.leb_le, Z.ltb_lt. reflexivity. Qed.
Lemma true_one b : b = true -> bracket b = one. Proof. now intros ->. Qed.
Lemma false_zero b : b = false -> bracket b = zero. Proof. now intros ->. Qed.
Lemma both a b : bracket a * bracket b = bracket (a && b). Proof. destruct a, b; simpl; ring. Qed.

(* One term of a sum is left where a bracket is false but for one index. *)
Lemma one_term n s f : (forall i, 0 <= i < n -> i <> s -> f i = zero)%Z -> sum n f = bracket (inside s n) * f s.
Proof using K_ring K_numbers.
  intros H. destruct (inside s n) eqn:E; simpl.
  - apply inside_spec in E. unfold sum.
    assert (G : forall m, (s < Z.of_nat m <= n)%Z -> first m f = f s).
    { induction m; intros; [lia|]. simpl. destruct (Z.eq_dec s (Z.of_nat m)) as [->|N].
      - rewrite (first_ext m f (fun _ => zero)) by (intros; apply H; lia).
        pose proof (sum_zero (Z.of_nat m)) as Q. unfold sum in Q. rewrite Nat2Z.id in Q. rewrite Q. ring.
      - rewrite IHm, (H (Z.of_nat m)) by lia. ring. }
    rewrite G by lia. ring.
  - rewrite sum_vanish; [ring|]. intros i Hi. apply H; [assumption|]. intros ->. apply inside_spec in Hi. congruence.
Qed.

Lemma one_in_range n s f r :
  (0 <= s < n)%Z -> (forall i, 0 <= i < n -> i <> s -> f i = zero)%Z -> f s = r -> sum n f = r.
Proof using K_ring K_numbers.
  intros R H <-. rewrite (one_term n s f H), (proj2 (inside_spec s n) R). simpl. ring.
Qed.

Lemma sum_constant n c : sum n (fun _ => c) = num (Z.max 0 n # 1) * c.
Proof.
  unfold sum. assert (G : forall k, first k (fun _ => c) = num (Z.of_nat k # 1) * c).
  { induction k; [simpl; ring|]. cbn [first]. rewrite IHk. transitivity ((num (Z.of_nat k # 1) + one) * c); [ring|].
    f_equal. rewrite <- (morph1 K_numbers), <- (morph_add K_numbers). apply (morph_eq K_numbers).
    unfold Qeq_bool, Qplus; cbn [Qnum Qden]. apply Zeq_is_eq_bool. lia. }
  rewrite G. repeat f_equal. lia.
Qed.
Lemma sum_counted n k c : k = num (Z.max 0 n # 1) -> sum n (fun _ => c) = k * c.
Proof. intros ->. apply sum_constant. Qed.
(* Two sums whose indices are functions of each other, j = u i, run over the same terms but for zeros. *)
Lemma reindex n m u v f g : (forall i, v (u i) = i)%Z -> (forall j, u (v j) = j)%Z ->
  (forall i, 0 <= i < n -> 0 <= u i < m -> f i = g (u i))%Z -> (forall i, inside (u i) m = false -> f i = zero) ->
  (forall j, inside (v j) n = false -> g j = zero) -> sum n f = sum m g.
Proof.
  intros V U E F G. symmetry.
  transitivity (sum m (fun j => sum n (fun i => bracket (i =? v j)%Z * g j))).
  - apply sum_ext. intros j R. rewrite (one_term n (v j)).
    + rewrite Z.eqb_refl. destruct (inside (v j) n) eqn:I; [simpl; ring | rewrite (G j I); ring].
    + intros i _ N. apply Z.eqb_neq in N. rewrite N. simpl. ring.
  - rewrite sum_swap. apply sum_ext. intros i R. rewrite (one_term m (u i)).
    + rewrite V, Z.eqb_refl. destruct (inside (u i) m) eqn:I; simpl.
      * apply inside_spec in I. rewrite (E i R I). ring.
      * rewrite (F i I). ring.
    + intros j _ N. rewrite (proj2 (Z.eqb_neq _ _)); [simpl; ring|]. intros ->. now rewrite U in N.
Qed.

(* Windows. *)

Lemma in_cells n m p : (0 <= p < cells n m)%Z -> (0 <= p / m < n /\ 0 <= p mod m < m)%Z.
Proof using.
  unfold cells. destruct (Z.ltb_spec 0 m); [|lia]. intros R. split; [|now apply Z.mod_pos_bound].
  split; [apply Z.div_pos; lia | apply Z.div_lt_upper_bound; lia].
Qed.
Lemma cells_positive n m : (0 < n)%Z -> (0 < m)%Z -> (0 < cells n m)%Z.
Proof using. intros N M. unfold cells. destruct (Z.ltb_spec 0 m); nia. Qed.
Lemma joined_at A m (f : Z -> Z -> A) i j : (0 <= j < m)%Z -> joined m f (m * i + j) = f i j.
Proof using.
  intros R. unfold joined. replace (m * i + j)%Z with (j + i * m)%Z by lia.
  now rewrite Z.div_add, Z.mod_add, Z.div_small, Z.mod_small by lia.
Qed.
Lemma sum_cells n m f : sum (cells n m) f = sum n (fun i => sum m (fun j => f (m * i + j)%Z)).
Proof.
  unfold sum, cells. destruct (Z.ltb_spec 0 m) as [P|P].
  - replace (Z.to_nat (n * m)) with (Z.to_nat n * Z.to_nat m)%nat by lia.
    induction (Z.to_nat n) as [|k IH]; [reflexivity|]. cbn [first]. rewrite <- IH, Nat.mul_succ_l.
    replace (m * Z.of_nat k)%Z with (Z.of_nat (k * Z.to_nat m)) by lia.
    generalize (k * Z.to_nat m)%nat as s. clear IH. intros s.
    induction (Z.to_nat m) as [|l IH]; [rewrite Nat.add_0_r; simpl; ring|].
    rewrite Nat.add_succ_r. cbn [first]. rewrite IH, Nat2Z.inj_add. ring.
  - replace (Z.to_nat m) with O by lia. symmetry. apply (sum_zero n).
Qed.
Lemma sum_nested A (g : Z -> A -> K) w :
  forall n f, sum n (fun i => nested g w i (f i)) = sum (positions n w) (fun p => g p (flat w f p)).
Proof.
  induction w as [|m r IH]; intros n f; [reflexivity|]. cbn [positions flat nested].
  rewrite <- IH, sum_cells. apply sum_ext. intros i _. apply sum_ext. intros j R. now rewrite joined_at.
Qed.
Lemma flat_entrywise A B (g : A -> B) w : forall f p, flat w (fun i => entrywise g w (f i)) p = g (flat w f p).
Proof using. induction w as [|m r IH]; intros f p; [reflexivity|]. exact (IH (joined m f) p). Qed.

(* --- The rules that move a derivative inwards, over dual numbers ------------------------------------------------ *)

(* derivative.independent *)
Theorem derivative_independent a : snd (still a) = zero.
Proof. reflexivity. Qed.

(* derivative.sum *)
Theorem derivative_sum a b : snd (dadd a b) = snd a + snd b.
Proof. reflexivity. Qed.

(* derivative.reduction: a dual sum is the sum of its terms, one by one *)
Fixpoint dfirst (n : nat) (f : Z -> dual) : dual :=
  match n with O => still zero | S m => dadd (dfirst m f) (f (Z.of_nat m)) end.
Theorem derivative_reduction n f : dfirst (Z.to_nat n) f = dsum n f.
Proof. unfold dsum, sum. induction (Z.to_nat n); simpl; [|rewrite IHn0]; reflexivity. Qed.

(* derivative.product: a factor without x is constant *)
Theorem derivative_product a b : snd (dmul a b) = snd a * fst b + fst a * snd b.
Proof. reflexivity. Qed.
Theorem derivative_product_left a b : dmul (still a) b = dleft a b.
Proof. unfold dmul, dleft; simpl. f_equal. ring. Qed.
Theorem derivative_product_right a b : dmul a (still b) = dright a b.
Proof. unfold dmul, dright; simpl. f_equal. ring. Qed.

(* derivative.power: proved for whole powers, as repeated products, and for a reciprocal; a law for others *)
Fixpoint whole (a : dual) (n : nat) : dual := match n with O => still one | S m => dmul a (whole a m) end.
Fixpoint times (n : nat) : K := match n with O => zero | S m => one + times m end.
Theorem derivative_power a n : snd (whole a (S n)) = times (S n) * fst (whole a n) * snd a.
Proof.
  induction n; [simpl; ring|]. change (whole a (S (S n))) with (dmul a (whole a (S n))).
  rewrite derivative_product, IHn. simpl. ring.
Qed.
Theorem derivative_reciprocal a b : dmul a b = still one -> snd b = num (-1 # 1) * (fst b * fst b) * snd a.
Proof.
  intros E. pose proof (f_equal fst E) as F. pose proof (f_equal snd E) as G. simpl in F, G.
  transitivity (fst b * (snd a * fst b + fst a * snd b) + num (-1 # 1) * (fst b * fst b) * snd a
                + (one + num (-1 # 1) * (fst a * fst b)) * snd b); [ring|].
  rewrite G, F. ring.
Qed.

(* derivative.function *)
Theorem derivative_function g g' a : snd (dfun g g' a) = g' (fst a) * snd a.
Proof. reflexivity. Qed.

(* derivative.max: it moves with the element at the first maximum, where no other equals it *)
Theorem max_over_positions n w f : dmax n w f = dmax (positions n w) nil (flat w f).
Proof.
  unfold dmax. cbn [flat entrywise nested positions]. rewrite sum_nested.
  pose proof (fun q (_ : (0 <= q < positions n w)%Z) => flat_entrywise _ _ (@fst K K) w f q) as E.
  now rewrite (max_ext _ _ _ E), (argmax_ext _ _ _ E).
Qed.
Theorem derivative_max n f :
  snd (dmax n nil f) = sum n (fun i => bracket (at_id i (argmax n (fun j => fst (f j)))) * snd (f i)).
Proof. reflexivity. Qed.

(* derivative.argmax: a position does not move *)
Theorem derivative_argmax n (f : Z -> K) i : snd (still (bracket (at_id i (argmax n f)))) = zero.
Proof. reflexivity. Qed.

(* derivative.logsumexp *)
Theorem logsumexp_over_positions n w f : dlogsumexp n w f = dlogsumexp (positions n w) nil (flat w f).
Proof.
  unfold dlogsumexp. cbn [flat entrywise nested positions]. rewrite sum_nested.
  pose proof (fun q (_ : (0 <= q < positions n w)%Z) => flat_entrywise _ _ (@fst K K) w f q) as E.
  now rewrite (logsumexp_ext _ _ _ E).
Qed.
Theorem derivative_logsumexp n f :
  snd (dlogsumexp n nil f)
  = sum n (fun i => exp (fst (f i) + num (-1 # 1) * logsumexp n (fun j => fst (f j))) * snd (f i)).
Proof. reflexivity. Qed.

(* derivative.component: x moved along its component at j *)
Definition moved (x : Z -> K) (j i : Z) : dual := (x i, bracket (i =? j)%Z).
Theorem derivative_component x j i : snd (moved x j i) = bracket (i =? j)%Z.
Proof. reflexivity. Qed.

(* chain: what is linear in the tangents of y has a coefficient for each component of y, and they are unique *)
Theorem chain n (loss : (Z -> dual) -> K) (d d' : Z -> K) (y : Z -> K) :
  (forall v, (forall k, fst (v k) = y k) -> loss v = sum n (fun k => d k * snd (v k))) ->
  (forall v, (forall k, fst (v k) = y k) -> loss v = sum n (fun k => d' k * snd (v k))) ->
  forall k, (0 <= k < n)%Z -> d k = d' k.
Proof.
  intros D D' k R. pose (v i := (y i, bracket (i =? k)%Z)).
  assert (Q : forall c, sum n (fun i => c i * snd (v i)) = c k).
  { intros c. rewrite (one_term n k).
    - rewrite (proj2 (inside_spec k n) R). unfold v; simpl. rewrite Z.eqb_refl. simpl. ring.
    - intros i _ N. unfold v; simpl. apply Z.eqb_neq in N. rewrite N. simpl. ring. }
  rewrite <- (Q d), <- (Q d'), <- D, <- D' by reflexivity. reflexivity.
Qed.

(* error_signal, definition, law, reuse: a name for its value *)
Theorem named (y e : Z -> K) n : (forall i, y i = e i) -> sum n e = sum n y.
Proof. intros H. apply sum_ext. intros. symmetry. apply H. Qed.

(* --- The rules that clear brackets ------------------------------------------------------------------------------ *)

(* distribute *)
Theorem distribute_left a b c : a * (b + c) = a * b + a * c.
Proof. ring. Qed.
Theorem distribute_right a b c : (b + c) * a = b * a + c * a.
Proof. ring. Qed.

(* zero *)
Theorem zero_product a : a * zero = zero.
Proof. ring. Qed.
Theorem zero_sum a : a + zero = a.
Proof. ring. Qed.

(* solve: s is what the bracket leaves of the index; in its range alone what is read there counts *)
Theorem solve_bracket n (d : Z -> bool) s (f g : Z -> K) r :
  (forall i, 0 <= i < n -> d i = true -> i = s)%Z -> d s = true -> (forall i, f i = bracket (d i) * g i) ->
  ((0 <= s < n)%Z -> g s = r) -> sum n f = bracket (inside s n) * r.
Proof.
  intros H T F E. rewrite (one_term n s).
  - destruct (inside s n) eqn:I; simpl; [|ring]. rewrite F, T, E by now apply inside_spec. simpl. ring.
  - intros i R N. rewrite F. destruct (d i) eqn:D; [contradict N; now apply H | simpl; ring].
Qed.

(* bracket: s is in range, being another index of that extent *)
Theorem clear_bracket n (d : Z -> bool) s (f g : Z -> K) r :
  (0 <= s < n)%Z -> (forall i, 0 <= i < n -> d i = true -> i = s)%Z -> d s = true ->
  (forall i, f i = bracket (d i) * g i) -> g s = r -> sum n f = r.
Proof.
  intros R H T F E. rewrite (solve_bracket n d s f g r); trivial.
  apply inside_spec in R. rewrite R. simpl. ring.
Qed.

(* single *)
Theorem single_term f : sum 1 f = f 0%Z.
Proof. unfold sum; simpl. ring. Qed.

(* range *)
Theorem range_true a n : (0 <= a < n)%Z -> bracket (inside a n) = one.
Proof. intros R. now apply true_one, inside_spec. Qed.

(* padding *)
Theorem padded_read b a : bracket b * a = bracket b * read b a zero.
Proof. destruct b; simpl; ring. Qed.
Theorem padding_zero b a : bracket b * a = read b a zero.
Proof. destruct b; simpl; ring. Qed.
Lemma read_true b a o : b = true -> read b a o = a.
Proof. now intros ->. Qed.
Lemma read_whole b a : (b = false -> a = zero) -> read b a zero = a.
Proof. destruct b; intros H; [|symmetry; apply H]; reflexivity. Qed.

(* radix: of two digits; more are this one again *)
Theorem radix_digits h c d c' d' : (0 <= d < h)%Z -> (0 <= d' < h)%Z ->
  bracket (h * c + d =? h * c' + d')%Z = bracket (d =? d')%Z * bracket (c =? c')%Z.
Proof.
  intros. rewrite both. f_equal. apply eq_true_iff_eq. rewrite andb_true_iff, !Z.eqb_eq.
  split; [intros E; assert (c = c') by nia; subst; lia | intros [-> ->]; reflexivity].
Qed.

(* residues: of the indices p only those of one class modulo m contribute, p = m * q + r *)
Theorem residue_class n m r f c g : (0 < m)%Z -> (0 <= r < m)%Z -> (m * (c - 1) + r < n <= m * c + r)%Z ->
  (forall p, 0 <= p < n -> p mod m <> r -> f p = zero)%Z ->
  (forall q, 0 <= q < c -> 0 <= m * q + r < n -> f (m * q + r)%Z = g q)%Z -> sum n f = sum c g.
Proof.
  intros Hm Hr Hc Hf Hg.
  transitivity (sum n (fun p => sum c (fun q => bracket (p =? m * q + r)%Z * f p))).
  - apply sum_ext. intros p Hp. destruct (Z.eq_dec (p mod m) r) as [E|N].
    + assert (D : p = (m * (p / m) + r)%Z) by (rewrite <- E; apply Z.div_mod; lia).
      symmetry. apply (clear_bracket c (fun q => p =? m * q + r) (p / m) _ (fun _ => f p))%Z;
        [nia | intros; nia | now apply Z.eqb_eq | reflexivity | reflexivity].
    + rewrite Hf by assumption. symmetry. apply sum_vanish. intros; ring.
  - rewrite sum_swap. apply sum_ext. intros q Hq. rewrite <- Hg by nia.
    apply (clear_bracket n (fun p => p =? m * q + r) (m * q + r) _ f)%Z;
      [nia | intros; lia | lia | reflexivity | reflexivity].
Qed.

(* --- The rules that tidy ---------------------------------------------------------------------------------------- *)

(* unit *)
Theorem unit_factor a : one * power 1 a = a.
Proof. rewrite power_one. ring. Qed.

(* associate *)
Theorem associate_factors a b c : a * (b * c) = a * b * c.
Proof. ring. Qed.
Theorem associate_terms a b c : a + (b + c) = a + b + c.
Proof. ring. Qed.

(* constants *)
Theorem constant_factors a : num (1 # 2) * a * num (2 # 1) = one * a.
Proof. ring. Qed.

(* take_out *)
Theorem take_out_factor n a f : sum n (fun i => a * f i) = a * sum n f.
Proof. symmetry. apply mul_sum. Qed.

(* like_terms *)
Theorem like_terms_add a : a + a = num (2 # 1) * a.
Proof. ring. Qed.

(* collect *)
Theorem collect_factor a b c : a * b + a * c = a * (b + c).
Proof. ring. Qed.

(* --- The rules that fold a layer into one formula ---------------------------------------------------------------- *)

Lemma sum_less n f c :
  sum n (fun i => f i + num (-1 # 1) * c) = sum n f + num (-1 # 1) * (num (Z.max 0 n # 1) * c).
Proof. rewrite sum_add, <- mul_sum, sum_constant. reflexivity. Qed.

(* vanish *)
Theorem vanish_mean n f m : num (Z.max 0 n # 1) * m = sum n f -> sum n (fun i => f i + num (-1 # 1) * m) = zero.
Proof. intros M. rewrite sum_less, M. ring. Qed.

(* root: where a power of a root is that power *)
Theorem root_power r s a b :
  (forall e, power s (power (1 # 2) e) = power r e) -> b = power (1 # 2) a -> power r a = power s b.
Proof. intros L ->. symmetry. apply L. Qed.

(* quotient: the divisor is not zero *)
Theorem quotient_times a s q : power (-1 # 1) s * s = one -> q = a * power (-1 # 1) s -> a = q * s.
Proof. intros U ->. ring [U]. Qed.

(* powers *)
Theorem powers_add a : power (-1 # 1) a * a = one -> power (-1 # 1) a * power (-1 # 1) a * a = power (-1 # 1) a.
Proof. intros U. ring [U]. Qed.

(* denominator *)
Theorem common_denominator a b m :
  power (-1 # 1) m * m = one -> a + b * power (-1 # 1) m = power (-1 # 1) m * (m * a + b).
Proof. intros U. ring [U]. Qed.

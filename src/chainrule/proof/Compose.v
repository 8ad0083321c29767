(* Lemmas put together: what each layer does to the error signal is what the network does. It goes on in the section of
   Rules.v, over the same ring, for tensors of any rank: an index is a list of numbers. No axiom. *)

(* The sum over all components of a tensor; which lists are indices of it; x moved along its component at c. *)
Fixpoint over (ns : list Z) (f : list Z -> K) : K :=
  match ns with nil => f nil | cons n r => sum n (fun i => over r (fun l => f (cons i l))) end.
Fixpoint within (ns l : list Z) : Prop :=
  match ns, l with nil, nil => True | cons n r, cons i s => (0 <= i < n)%Z /\ within r s | _, _ => False end.
Fixpoint units (a : K) (c l : list Z) : K :=
  match c, l with nil, nil => a | cons i r, cons j s => units (a * bracket (j =? i)%Z) r s | _, _ => zero end.
Definition unit_at (c l : list Z) : K :=
  match c, l with nil, nil => one | cons i r, cons j s => units (bracket (j =? i)%Z) r s | _, _ => zero end.
(* A tensor as a function of lists. *)
Fixpoint tensor (rank : nat) : Type := match rank with O => K | S r => Z -> tensor r end.
Fixpoint listed (rank : nat) : tensor rank -> list Z -> K :=
  match rank with
  | O => fun y l => match l with nil => y | _ => zero end
  | S r => fun y l => match l with nil => zero | cons i s => listed r (y i) s end
  end.

Lemma units_factor a c : forall l, units a c l = a * units one c l.
Proof.
  revert a. induction c as [|i c IH]; intros a [|j l]; cbn [units]; try ring. rewrite IH, (IH (one * _)). ring.
Qed.
Lemma unit_cons i c j l : unit_at (cons i c) (cons j l) = bracket (j =? i)%Z * unit_at c l.
Proof.
  cbn [unit_at]. rewrite units_factor. f_equal. destruct c as [|k c], l as [|m l]; cbn [units unit_at]; trivial.
  rewrite (units_factor (one * _)), (units_factor (bracket _)). ring.
Qed.
Lemma unit_same c : forall l, unit_at c l = unit_at l c.
Proof. induction c; intros [|j l]; trivial. rewrite !unit_cons, IHc. f_equal. f_equal. apply Z.eqb_sym. Qed.
Lemma one_times a : one * a = a.
Proof. ring. Qed.
Lemma over_ext ns : forall f g, (forall l, within ns l -> f l = g l) -> over ns f = over ns g.
Proof.
  induction ns as [|n ns IH]; intros f g H; cbn [over]; [now apply H|].
  apply sum_ext. intros i R. apply IH. intros l W. now apply H.
Qed.
Lemma over_zero ns : over ns (fun _ => zero) = zero.
Proof. induction ns; cbn [over]; [reflexivity|]. apply sum_vanish. intros. apply IHns. Qed.
Lemma over_add ns : forall f g, over ns (fun l => f l + g l) = over ns f + over ns g.
Proof.
  induction ns as [|n ns IH]; intros f g; cbn [over]; [reflexivity|].
  rewrite <- sum_add. apply sum_ext. intros. apply (IH (fun l => f (cons i l))).
Qed.
Lemma mul_over ns a : forall f, a * over ns f = over ns (fun l => a * f l).
Proof.
  induction ns as [|n ns IH]; intros f; cbn [over]; [reflexivity|].
  rewrite mul_sum. apply sum_ext. intros. apply (IH (fun l => f (cons i l))).
Qed.
Lemma sum_over n ns : forall f, sum n (fun i => over ns (f i)) = over ns (fun l => sum n (fun i => f i l)).
Proof.
  induction ns as [|m ns IH]; intros f; cbn [over]; [reflexivity|].
  rewrite sum_swap. apply sum_ext. intros j _. apply (IH (fun i l => f i (cons j l))).
Qed.
Lemma over_swap ms ns : forall f, over ms (fun k => over ns (f k)) = over ns (fun l => over ms (fun k => f k l)).
Proof.
  induction ms as [|m ms IH]; intros f; cbn [over]; [reflexivity|].
  rewrite <- sum_over. apply sum_ext. intros i _. apply (IH (fun k => f (cons i k))).
Qed.
(* A movement is the sum of movements along one component. *)
Lemma at_unit ns : forall l f, within ns l -> over ns (fun c => f c * unit_at c l) = f l.
Proof.
  induction ns as [|n ns IH]; intros [|i l] f W; cbn [over within] in *; try contradiction; [cbn [unit_at]; ring|].
  destruct W as [R W].
  transitivity (sum n (fun j => over ns (fun c => f (cons j c) * (bracket (i =? j)%Z * unit_at c l)))).
  { apply sum_ext. intros. apply over_ext. intros. now rewrite unit_cons. }
  rewrite (one_term n i).
  - rewrite (proj2 (inside_spec i n) R), Z.eqb_refl. cbn [bracket].
    rewrite <- (IH l (fun c => f (cons i c)) W). rewrite mul_over. apply over_ext. intros. ring.
  - intros j _ N. rewrite <- (over_zero ns). apply over_ext. intros c _.
    rewrite (proj2 (Z.eqb_neq i j)) by congruence. cbn [bracket]. ring.
Qed.

(* A tangent is linear in the movement d: along d it is the sum of what it is along each component. One lemma for each
   operation of a dual number. *)
Definition linear (ns : list Z) (tangent : (list Z -> K) -> K) : Prop :=
  forall d, tangent d = over ns (fun c => d c * tangent (unit_at c)).

Lemma linear_read ns l : within ns l -> linear ns (fun d => d l).
Proof. intros W d. symmetry. exact (at_unit ns l d W). Qed.
Lemma linear_zero ns : linear ns (fun _ => zero).
Proof. intros d. rewrite <- (over_zero ns) at 1. apply over_ext. intros. ring. Qed.
Lemma linear_add ns f g : linear ns f -> linear ns g -> linear ns (fun d => f d + g d).
Proof. intros F G d. rewrite (F d), (G d), <- over_add. apply over_ext. intros. ring. Qed.
Lemma linear_left ns a f : linear ns f -> linear ns (fun d => a * f d).
Proof. intros F d. rewrite (F d), mul_over. apply over_ext. intros. ring. Qed.
Lemma linear_right ns a f : linear ns f -> linear ns (fun d => f d * a).
Proof.
  intros F d. transitivity (a * f d); [ring|]. rewrite (F d), mul_over. apply over_ext. intros. ring.
Qed.
Lemma linear_sum ns n f : (forall i, 0 <= i < n -> linear ns (f i))%Z -> linear ns (fun d => sum n (fun i => f i d)).
Proof.
  intros F d. transitivity (sum n (fun i => over ns (fun c => d c * f i (unit_at c)))).
  - apply sum_ext. intros i R. apply (F i R).
  - rewrite sum_over. apply over_ext. intros. symmetry. apply mul_sum.
Qed.
Lemma linear_padded ns b f : (b = true -> linear ns f) -> linear ns (fun d => read b (f d) zero).
Proof. destruct b; intros F; [exact (F eq_refl) | apply linear_zero]. Qed.

(* The chain rule of one layer: y moves linearly in x, and g is what a lemma says, the movement of the loss along each
   component of x. Then the loss moves with x as g says, however x is moved. *)
Theorem layer ms ns (signal : list Z -> K) (tangent : list Z -> (list Z -> K) -> K) (g : list Z -> K) :
  (forall k, within ms k -> linear ns (tangent k)) ->
  (forall c, within ns c -> over ms (fun k => signal k * tangent k (unit_at c)) = g c) ->
  forall d, over ms (fun k => signal k * tangent k d) = over ns (fun c => g c * d c).
Proof.
  intros L G d. transitivity (over ms (fun k => over ns (fun c => d c * (signal k * tangent k (unit_at c))))).
  - apply over_ext. intros k W. rewrite (L k W d), mul_over. apply over_ext. intros. ring.
  - rewrite over_swap. apply over_ext. intros c W. rewrite <- (G c W), <- mul_over. ring.
Qed.

(* Contributions of two uses of one tensor add. *)
Theorem uses ns g h (d : list Z -> K) :
  over ns (fun c => g c * d c) + over ns (fun c => h c * d c) = over ns (fun c => (g c + h c) * d c).
Proof. rewrite <- over_add. apply over_ext. intros. ring. Qed.

(* There is one gradient alone. *)
Theorem unique ns g h :
  (forall d, over ns (fun c => g c * d c) = over ns (fun c => h c * d c)) -> forall c, within ns c -> g c = h c.
Proof.
  intros H c W.
  assert (Q : forall f, over ns (fun l => f l * unit_at l c) = f c) by (intros; now apply at_unit).
  assert (S : forall f, over ns (fun l => f l * unit_at c l) = f c).
  { intros f. rewrite <- (Q f). apply over_ext. intros l _. f_equal. apply unit_same. }
  rewrite <- (S g), <- (S h). apply H.
Qed.

(* Operands of one equation: its tangent is the sum of what each of them contributes. *)
Lemma over_two ms s f g : over ms (fun k => s k * (f k + g k)) = over ms (fun k => s k * f k) + over ms (fun k => s k * g k).
Proof. rewrite <- over_add. apply over_ext. intros. ring. Qed.
Lemma cancel a b c : a + c = b + c -> a = b.
Proof.
  intros H. transitivity (a + c + num (-1 # 1) * c); [ring|]. rewrite H. ring.
Qed.
Ltac linearly :=
  lazymatch goal with
  | |- linear _ (fun _ => zero) => apply linear_zero
  | |- linear _ (fun d => d _) => apply linear_read; cbn [within]; repeat split; lia
  | |- linear _ (fun d => _ + _) => apply linear_add; linearly
  | |- linear _ (fun d => _ * _) => first [apply linear_left; linearly | apply linear_right; linearly]
  | |- linear _ (fun d => sum _ _) => apply linear_sum; let i := fresh "i" in intros i ?; linearly
  | |- linear _ (fun d => read _ _ zero) => apply linear_padded; intros; unfold inside in *; linearly
  end.
Ltac split_sums :=
  cbv beta;
  lazymatch goal with
  | |- sum ?n _ = _ =>
      eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; split_sums | split_sum]
  | |- _ + _ = _ => eapply (f_equal2 add); split_sums
  | |- _ => reflexivity
  end.
(* A component of a list of indices. *)
Ltac places k W :=
  repeat (destruct k as [|? k]; cbn [within] in W; [contradiction W | destruct W as [? W]]);
  destruct k; cbn [within] in W; [clear W | contradiction W].

(* What moves: a path of numbers, and the dual number that stands for it at its start. Over the real numbers these are
   curves with their derivatives (Real.v). *)
Variable path : (K -> K) -> dual -> Prop.
Hypothesis path_still : forall a, path (fun _ => a) (still a).
Hypothesis path_line : forall a b, path (fun t => a + t * b) (a, b).
Hypothesis path_add : forall c d a b, path c a -> path d b -> path (fun t => c t + d t) (dadd a b).
Hypothesis path_mul : forall c d a b, path c a -> path d b -> path (fun t => c t * d t) (dmul a b).
Hypothesis path_left : forall k c a, path c a -> path (fun t => k * c t) (dleft k a).
Hypothesis path_right : forall k c a, path c a -> path (fun t => c t * k) (dright a k).
Hypothesis path_sum : forall n (c : Z -> K -> K) a,
  (forall i, 0 <= i < n -> path (c i) (a i))%Z -> path (fun t => sum n (fun i => c i t)) (dsum n a).
Hypothesis path_read : forall b c a o, (b = true -> path c a) -> path (fun t => read b (c t) o) (dread b a o).
Hypothesis path_exp : forall c a, path c a -> path (fun t => exp (c t)) (dfun exp exp a).
Hypothesis path_logsumexp : forall n (c : Z -> K -> K) a,
  (0 < n)%Z -> (forall i, 0 <= i < n -> path (c i) (a i))%Z ->
  path (fun t => logsumexp n (fun i => c i t)) (dlogsumexp n nil a).
Ltac along known :=
  lazymatch goal with
  | |- path _ (still _) => apply path_still
  | |- path _ (dadd _ _) => apply path_add; along known
  | |- path _ (dmul _ _) => apply path_mul; along known
  | |- path _ (dleft _ _) => apply path_left; along known
  | |- path _ (dright _ _) => apply path_right; along known
  | |- path _ (dsum _ _) => apply path_sum; let i := fresh "i" in intros i ?; along known
  | |- path _ (dread _ _ _) => apply path_read; unfold inside in *; intros; along known
  | |- path _ (dlogsumexp _ _ _) =>
      rewrite logsumexp_over_positions; cbn [positions entries flat]; apply path_logsumexp;
      [ repeat apply cells_positive; lia
      | let p := fresh "p" in let R := fresh "R" in intros p R;
        with_strategy transparent [joined] cbv beta delta [joined]; position p R; along known ]
  | |- path _ (dfun exp exp _) => apply path_exp; along known
  | |- _ => known; along known
  end.

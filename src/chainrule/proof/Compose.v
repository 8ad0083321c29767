(* Lemmas put together: what each layer does to the error signal is what the network does. It goes on in the section of
   Rules.v, over the same ring, for tensors of any rank: an index is a list of numbers. No axiom. *)

(* The sum over all components of a tensor; which lists are indices of it; x moved along its component at c. *)
Fixpoint over (ns : list Z) (f : list Z -> K) : K :=
  match ns with nil => f nil | cons n r => sum n (fun i => over r (fun l => f (cons i l))) end.
Fixpoint within (ns l : list Z) : Prop :=
  match ns, l with nil, nil => True | cons n r, cons i s => (0 <= i < n)%Z /\ within r s | _, _ => False end.
Fixpoint unit_at (c l : list Z) : K :=
  match c, l with nil, nil => one | cons i r, cons j s => bracket (j =? i)%Z * unit_at r s | _, _ => zero end.

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
  induction ns as [|n ns IH]; intros [|i l] f W; cbn [over within unit_at] in *; try contradiction; [ring|].
  destruct W as [R W]. rewrite (one_term n i).
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
  { intros f. rewrite <- (Q f). apply over_ext. intros l _. f_equal. clear.
    revert l; induction c; intros [|j l]; cbn [unit_at]; trivial. rewrite IHc. f_equal. f_equal. apply Z.eqb_sym. }
  rewrite <- (S g), <- (S h). apply H.
Qed.

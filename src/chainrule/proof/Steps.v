(* How a step is closed. It stands behind Rules.v, in its section: tactics only, and what they close Coq checks anew. *)

Opaque sum read joined.
Ltac duals :=
  cbv beta;
  cbn [fst snd still dadd dmul dleft dright dsum dread dfun dfun2 dpower dmax dlogsumexp
       positions entries entrywise flat nested].
Ltac arith := unfold inside in *; lia.
(* What a bracket says of its index, and that the index is in range; most brackets are between two indices. *)
Ltac range := first [assumption | arith].
Ltac index :=
  cbv beta;
  first [apply Z.eqb_refl | intros ? _ ?; now apply Z.eqb_eq | intros ? _ ?; symmetry; now apply Z.eqb_eq
        | intros; arith].
(* Sums of zeros; brackets that arithmetic decides; ranges that it does not, in both cases, those of brackets first: where
   one is false little is left, and where it is true it often decides the others. *)
Ltac zeros :=
  repeat match goal with |- context [sum ?n ?f] => rewrite (sum_vanish n f) by (intros; cbv beta; zeros; ring) end.
(* The distinct ones of a line, each of which is tried once. *)
Ltac brackets_of t found :=
  match t with
  | context [bracket ?b] =>
      let new := lazymatch found with context [cons b _] => fail | _ => constr:(I) end in
      brackets_of t constr:(cons b found)
  | _ => found
  end.
Ltac decided l :=
  lazymatch l with
  | cons ?b ?l => try first [rewrite (true_one b) by arith | rewrite (false_zero b) by arith]; decided l
  | nil => idtac
  end.
Ltac decide_brackets := lazymatch goal with |- ?g => let l := brackets_of g constr:(@nil bool) in decided l end.
Ltac decided_reads := with_strategy transparent [read] cbn [andb bracket read].
Ltac decided_range a n :=
  first [replace (inside a n) with true by (symmetry; arith) | replace (inside a n) with false by (symmetry; arith)].
Ltac in_range a n zero_there :=
  first [decided_range a n | let E := fresh "E" in destruct (inside a n) eqn:E; [ | zero_there]].
Ltac cases :=
  repeat match goal with |- context [bracket (inside ?a ?n)] =>
    in_range a n ltac:(try (cbn [bracket]; zeros; ring)); cbn [bracket] end;
  repeat match goal with |- context [inside ?a ?n] => in_range a n idtac end;
  decided_reads.
Ltac ranged :=
  progress (decide_brackets; repeat match goal with |- context [inside ?a ?n] => decided_range a n end;
  decided_reads).
Ltac ranges :=
  repeat match goal with |- context [bracket (inside ?a ?n)] =>
    let E := fresh "E" in destruct (inside a n) eqn:E end; cbn [bracket].
(* Equal sums have equal terms. What is left is a rearrangement of one term, or else equal products have equal factors;
   where that fails, `leaf` closes what is left. *)
Ltac under := repeat (apply sum_ext; let i := fresh "i" in let R := fresh "R" in intros i R; cbv beta).
(* An index in its range; for the position in a window the indices that it is of. *)
Ltac indices_of e :=
  lazymatch e with
  | joined ?m ?f ?p => indices_of (f (p / m)%Z (p mod m)%Z)
  | ?g ?x => let h := indices_of g in constr:(h x)
  | _ => e
  end.
Ltac element :=
  let i := fresh "i" in let R := fresh "R" in intros i R;
  lazymatch goal with |- ?l = ?r => let l := indices_of l in let r := indices_of r in change (l = r) end;
  position i R; cbv beta
with position p R :=
  lazymatch type of R with
  | (0 <= _ < cells ?n ?m)%Z =>
      generalize (in_cells n m p R); generalize (p / m)%Z (p mod m)%Z; clear p R;
      let i := fresh "i" in let R := fresh "R" in intros i ? [R ?]; position i R
  | _ => idtac
  end.
Ltac parts leaf :=
  first
  [ reflexivity
  | match goal with
    | |- max ?n _ = max ?n _ => apply max_ext; element; parts leaf
    | |- argmax ?n _ = argmax ?n _ => apply argmax_ext; element; parts leaf
    | |- logsumexp ?n _ = logsumexp ?n _ => apply logsumexp_ext; element; parts leaf
    | |- bracket (at_id _ _) = bracket (at_id _ _) => apply (f_equal bracket), (f_equal2 at_id); parts leaf
    | |- num (_ # 1) = num (_ # 1) => apply (f_equal (fun k => num (k # 1))); parts leaf
    | |- bracket _ = bracket _ => apply (f_equal bracket); arith
    | |- sum ?n _ = sum ?n _ =>
        apply sum_ext; let i := fresh "i" in let R := fresh "R" in intros i R; cbv beta; parts leaf
    | |- read _ _ _ = read _ _ _ => apply f_equal3; [arith | parts leaf | reflexivity]
    | |- _ + _ = _ + _ => apply (f_equal2 add); parts leaf
    | |- _ * _ = _ * _ => apply (f_equal2 mul); parts leaf
    | |- ?f _ = ?f _ => apply (@f_equal K K f); first [ring | parts leaf]
    | |- ?f _ _ = ?f _ _ => apply (@f_equal2 K K K f); first [ring | parts leaf]
    end
  | leaf ].
Ltac same leaf := first [reflexivity | under; ring | parts leaf].
(* Term by term, `close` what is no rearrangement. *)
Ltac each close := under; first [ring | apply (f_equal2 add); each close | close].
Ltac outside := apply read_whole; intros; rewrite ?both; apply false_zero; arith.
Ltac subscripts :=
  match goal with
  | |- _ + _ = _ => fail 1
  | |- _ * _ = _ => fail 1
  | |- sum _ _ = _ => fail 1
  | |- _ => solve [f_equal; arith]
  end.
(* The way that most steps go, without a search: down to where the lines differ, past what is the same on both sides, and
   there `leaf`. Of sums of terms and of products the last parts are equal, so that the others must be; but where a
   bracket among them may be zero, the whole is left to `leaf`. *)
Ltac guarded e := match e with context [bracket] => idtac end.
Ltac may_vanish e := match e with context [bracket] => idtac | context [read _ _ zero] => idtac end.
Ltac walk leaf :=
  cbv beta;
  lazymatch goal with
  | |- ?l = ?r =>
    tryif constr_eq l r then reflexivity else
    lazymatch goal with
    | |- sum ?n _ = sum ?n _ => apply sum_ext; let i := fresh "i" in let R := fresh "R" in intros i R; walk leaf
    | |- max ?n _ = max ?n _ => apply max_ext; element; walk leaf
    | |- argmax ?n _ = argmax ?n _ => apply argmax_ext; element; walk leaf
    | |- logsumexp ?n _ = logsumexp ?n _ => apply logsumexp_ext; element; walk leaf
    | |- bracket (at_id _ _) = bracket (at_id _ _) => apply (f_equal bracket), (f_equal2 at_id); walk leaf
    | |- num (_ # 1) = num (_ # 1) => apply (f_equal (fun k => num (k # 1))); walk leaf
    | |- bracket _ = bracket _ => apply (f_equal bracket); arith
    | |- read _ _ ?o = read _ _ ?o => apply f_equal3; [first [reflexivity | arith] | walk leaf | reflexivity]
    | |- read _ _ _ = _ => first [eapply eq_trans; [apply read_true; arith | walk leaf] | leaf]
    | |- _ = read _ _ _ => first [symmetry; eapply eq_trans; [apply read_true; arith | symmetry; walk leaf] | leaf]
    | |- ?a + ?b = ?c + ?d =>
        tryif constr_eq a c then (apply (f_equal2 add); [reflexivity | walk leaf])
        else tryif constr_eq b d then (apply (f_equal2 add); [walk leaf | reflexivity])
        else first [ring | tryif (apply (f_equal2 add); [ | solve [walk leaf]]) then walk leaf else leaf]
    | |- ?a * ?b = ?c * ?d =>
        tryif constr_eq a c then one_factor a ltac:(apply (f_equal2 mul); [reflexivity | walk leaf]) leaf
        else tryif constr_eq b d then one_factor b ltac:(apply (f_equal2 mul); [walk leaf | reflexivity]) leaf
        else tryif guarded b then leaf
        else tryif (apply (f_equal2 mul); [ | solve [walk leaf]]) then walk leaf else leaf
    | |- ?f _ = ?f _ =>
        lazymatch type of f with K -> K => apply (f_equal f); walk leaf | Z -> _ => apply (f_equal f); arith end
    | |- ?f _ _ = ?f _ _ =>
        lazymatch type of f with
        | K -> K -> K => apply (f_equal2 f); walk leaf
        | Z -> Z -> _ => apply (f_equal2 f); arith
        | _ => leaf  (* two powers of one value *)
        end
    | |- _ => first [leaf | subscripts]
    end
  end
with one_factor e others leaf := tryif may_vanish e then first [solve [others] | leaf] else others.
(* Functions and sums that are equal are written alike, by `close`. *)
Ltac likened close :=
  repeat match goal with |- ?l = ?r =>
    match l with
    | context [?f ?a] =>
        lazymatch type of f with K -> K => idtac end;
        match r with context [f ?b] => as_one (f a) (f b) ltac:(apply (f_equal f); close) end
    | context [?f ?a ?b] =>
        is_var f; lazymatch type of f with K -> K -> K => idtac end;
        lazymatch f with add => fail | mul => fail | sub => fail | _ => idtac end;
        match r with context [f ?c ?d] => as_one (f a b) (f c d) ltac:(apply (f_equal2 f); close) end
    | context [read ?b ?a ?o] => match r with context [read ?c ?d o] => as_one (read b a o) (read c d o) close end
    | context [?f ?n ?a] =>
        lazymatch type of a with Z -> K => idtac end;
        match r with context [f n ?b] =>
          tryif (constr_eq l (f n a); constr_eq r (f n b)) then fail else as_one (f n a) (f n b) close end
    end
  end
with as_one a b close := tryif constr_eq a b then fail else replace b with a by close.
Ltac pulled close :=
  lazymatch goal with
  | |- sum ?n _ = _ * sum ?n _ => symmetry; pulled close
  | |- _ * sum ?n _ = sum ?n _ =>
      rewrite mul_sum; apply sum_ext; let i := fresh "i" in let R := fresh "R" in intros i R; cbv beta;
      first [pulled close | close]
  end.
Ltac plain :=
  first [ring | outside | pulled ltac:(walk plain) | progress (likened ltac:(walk plain)); first [reflexivity | ring]].
Ltac direct := walk plain.
(* A sum over an index that a bracket pins to one number is its term there; other sums may stand between them. A factor
   pins it, before what stands within other factors; an index itself, before what is computed from it. *)
Ltac at_zero i e := let p := eval pattern i in e in match p with ?h _ => eval cbv beta in (h 0%Z) end.
Ltac direct_pin i b :=
  match b with
  | (i =? ?s)%Z => exact s
  | (?s =? i)%Z => exact s
  end.
Ltac solved_pin i b :=
  match b with (?a =? ?c)%Z =>
    let d := constr:((a - c)%Z) in match d with context [i] => idtac end; let d0 := at_zero i d in
    first [ let _ := constr:(ltac:(lia) : (d = i + d0)%Z) in exact (- d0)%Z
          | let _ := constr:(ltac:(lia) : (d = - i + d0)%Z) in exact d0 ]
  end.
Ltac factors t pin :=
  lazymatch t with
  | ?a * ?b => first [factors a pin | factors b pin]
  | bracket ?b => pin b
  end.
Ltac pinned f :=
  let i := fresh "i" in  (* not one of the names in f *)
  let g := constr:(fun i : Z => ltac:(let t := eval cbv beta in (f i) in
    first [ factors t ltac:(direct_pin i) | factors t ltac:(solved_pin i)
          | match t with context [bracket ?b] => first [direct_pin i b | solved_pin i b] end ])) in
  match g with fun _ => ?s => s end.
Ltac sink :=
  cbv beta;
  match goal with
  | |- sum ?n (fun i => sum ?m (fun j => @?f i j)) = _ =>
      eapply eq_trans; [exact (sum_swap n m f) | eapply sum_ext; let j := fresh "j" in intros j ?; sink]
  | |- sum ?n ?f = _ =>
      let s := pinned f in
      first [ eapply (one_in_range n s f); [lia | elsewhere | cbv beta; rewrite ?Z.eqb_refl; cbn [bracket]; reflexivity]
            | apply (one_term n s f); elsewhere ]
  end
with elsewhere :=
  let i := fresh "i" in let N := fresh "N" in intros i ? N; cbv beta;
  match goal with |- context [bracket (?a =? ?b)%Z] => rewrite (false_zero (a =? b)%Z) by lia end; zeros; ring.
Ltac pin :=
  cbv beta;
  match goal with
  | |- ?l = _ => tryif (match l with context [bracket (_ =? _)%Z] => idtac end) then fail else reflexivity
  | |- sum _ _ = _ => eapply eq_trans; [sink | pin]
  | |- sum ?n _ = _ => eapply sum_ext; let i := fresh "i" in intros i ?; pin
  | |- _ * _ = _ => match goal with |- context [sum _ _] => idtac end; eapply (f_equal2 mul); [pin | pin]
  | |- _ + _ = _ => match goal with |- context [sum _ _] => idtac end; eapply (f_equal2 add); [pin | pin]
  | |- _ => reflexivity
  end.
(* A concise form written out by its meaning has its sums in other places and in another order. Sums to the front of a
   product, those that a bracket pins away, within functions too, and maxima of one value; then the sums of both sides one
   by one, whichever of the right ones agrees with the first of the left. *)
Ltac front :=
  cbv beta;
  match goal with
  | |- sum ?n ?f * ?c = _ =>
      eapply eq_trans; [exact (sum_mul n c f) | eapply sum_ext; let i := fresh "i" in intros i ?; front]
  | |- ?c * sum ?n ?f = _ =>
      eapply eq_trans; [exact (mul_sum n c f) | eapply sum_ext; let i := fresh "i" in intros i ?; front]
  | |- _ => reflexivity
  end.
Ltac movable t := match t with context [sum _ _] => idtac | context [max _ (fun _ => _)] => idtac end.
Ltac float :=
  cbv beta;
  match goal with
  | |- sum 1 ?f = _ => eapply eq_trans; [exact (single_term f) | float]
  | |- sum ?n (fun _ => ?c) = _ =>
      lazymatch isZcst n with true => idtac end; let m := eval compute in (Z.max 0 n) in
      eapply eq_trans; [exact (sum_constant n c : _ = num (m # 1) * c) | float]
  | S : _ = num (Z.max 0 ?n # 1) |- sum ?n (fun _ => ?c) = _ => eapply eq_trans; [exact (sum_counted n _ c S) | float]
  | |- sum ?n _ = _ => eapply sum_ext; let i := fresh "i" in intros i ?; float
  | |- ?a * ?b = _ => movable (a * b); eapply eq_trans; [eapply (f_equal2 mul); [float | float] | front]
  | |- ?a + ?b = _ => movable (a + b); eapply (f_equal2 add); [float | float]
  | |- max ?n (fun _ => ?c) = _ => eapply eq_trans; [apply (max_constant n c); lia | float]
  | |- max ?n ?f = _ => movable f; eapply max_ext; let i := fresh "i" in intros i ?; level
  | |- logsumexp ?n ?f = _ => movable f; eapply logsumexp_ext; let i := fresh "i" in intros i ?; level
  | |- ?f ?a = _ =>
      lazymatch type of f with K -> K => idtac end; first [is_var f | match f with power _ => idtac end];
      movable a; eapply (@f_equal K K f); level
  | |- ?f ?a ?b = _ =>
      is_var f; lazymatch type of f with K -> K -> K => idtac end;
      lazymatch f with add => fail | mul => fail | sub => fail | _ => idtac end;
      movable (f a b); eapply (@f_equal2 K K K f); [level | level]
  | |- _ => reflexivity
  end
with level := eapply eq_trans; [float | pin].
(* Subscripts that are equal numbers are written alike. *)
Ltac entry f := lazymatch f with ?g _ => entry g | _ => is_var f end.
Ltac subscripts_of t found :=
  match t with
  | context [?f ?a] =>
      let number := lazymatch type of a with Z => constr:(I) end in
      let subscript := match goal with |- _ => entry f end in
      let new := lazymatch found with context [cons a _] => fail | _ => constr:(I) end in
      subscripts_of t constr:(cons a found)
  | _ => found
  end.
Ltac one_subscript a b :=
  let E := fresh "E" in
  assert (E : a = b) by lia;
  repeat match goal with |- context [?f b] =>
    entry f; replace (f b) with (f a) by (apply (f_equal f); exact E) end;
  clear E.
Ltac with_others a l := lazymatch l with cons ?b ?l => try one_subscript a b; with_others a l | nil => idtac end.
Ltac each_pair l := lazymatch l with cons ?a ?l => with_others a l; each_pair l | nil => idtac end.
Ltac alike := lazymatch goal with |- ?g => let l := subscripts_of g constr:(@nil Z) in each_pair l end.
(* The sum at place k to the front; it is the first of the left side, and what is below `rest` closes. *)
Ltac nth_front k :=
  lazymatch k with
  | O => reflexivity
  | S ?m =>
      lazymatch goal with
      | |- sum ?n _ = _ =>
          eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; cbv beta; nth_front m | apply sum_swap]
      end
  end.
Ltac partner k rest :=
  cbv beta;
  eapply eq_trans; [ | symmetry; nth_front k];
  lazymatch goal with |- sum ?n _ = sum ?n _ => apply sum_ext; let i := fresh "i" in intros i ?; cbv beta; rest end.
Ltac meaning rest := eapply eq_trans; [level | symmetry; eapply eq_trans; [level | symmetry]]; rest.
(* Where a factor has terms that are all sums, and the others have none, the others go into each term first. *)
Ltac sums e := lazymatch e with
  | ?a + ?b => sums a; sums b
  | ?a * ?b => first [sums a | sums b]
  | sum _ _ => idtac
  end.
Ltac each_of a c := sums a; tryif sums c then fail else idtac.
Ltac apart :=
  lazymatch goal with
  | |- _ + _ = _ => eapply (f_equal2 add); [apart | apart]
  | |- _ * _ = _ => eapply eq_trans; [eapply (f_equal2 mul); [apart | apart] | into_terms]
  | |- _ => reflexivity
  end
with into_terms :=
  match goal with
  | |- (?a + ?b) * ?c = _ =>
      each_of (a + b) c;
      eapply eq_trans; [exact (distribute_right c a b) | eapply (f_equal2 add); [into_terms | into_terms]]
  | |- ?c * (?a + ?b) = _ =>
      each_of (a + b) c;
      eapply eq_trans; [exact (distribute_left c a b) | eapply (f_equal2 add); [into_terms | into_terms]]
  | |- _ => reflexivity
  end.
Ltac by_terms rest := eapply eq_trans; [apart | symmetry; eapply eq_trans; [apart | symmetry]]; meaning rest.
(* Reads and brackets that are equal are written alike. *)
Ltac written a b close :=
  lazymatch goal with |- ?l = _ =>
    tryif (match l with context [b] => idtac end) then fail else replace b with a by close end.
Ltac reads l r close :=
  match l with
  | context [read ?b ?a ?o] => match r with context [read ?c ?d o] =>
      written (read b a o) (read c d o) ltac:(apply f_equal3; [first [reflexivity | arith] | close | reflexivity]) end
  | context [bracket ?a] => match r with context [bracket ?b] =>
      written (bracket a) (bracket b)
        ltac:(apply (f_equal bracket); first [arith | apply (f_equal2 at_id); [lia | reflexivity]]) end
  end.
(* What `ring` takes for one thing: functions, maxima and sums. Those that hold no others come first: what is equal to one
   of the left side, by `close`, is written as it, and is a value of its own from then on, so that what is around it is
   small. Two that speak of different tensors are not tried. *)
Ltac whole e :=
  lazymatch e with
  | sum _ _ => idtac
  | power _ _ => idtac
  | ?f _ _ =>
      is_var f;
      lazymatch type of f with
      | K -> K -> K => lazymatch f with add => fail | mul => fail | sub => fail | _ => idtac end
      | Z -> (Z -> K) -> _ => idtac
      end
  | ?f _ => is_var f; lazymatch type of f with K -> K => idtac end
  end.
Ltac within e := match e with context [?d] => tryif constr_eq d e then fail else whole d end.
Ltac wholes_of t found chosen :=
  match t with
  | context [?e] =>
      let own := match goal with |- _ => whole e; chosen e end in
      let new := lazymatch found with context [(_, e)] => fail | _ => constr:(I) end in
      wholes_of t constr:((found, e)) chosen
  | _ => found
  end.
Ltac lacks e d :=
  match e with context [?x] =>
    is_var x; lazymatch type of x with Z => fail | _ => idtac end;
    lazymatch x with zero => fail | one => fail | add => fail | mul => fail | num => fail | _ => idtac end;
    tryif (match d with context [x] => idtac end) then fail else idtac end.
Ltac twin e d close :=
  tryif first [lacks e d | lacks d e] then fail else idtac;
  lazymatch goal with |- ?l = ?r => tryif (constr_eq l e; constr_eq r d) then fail else idtac end;
  lazymatch constr:((e, d)) with
  | (sum _ _, sum _ _) => replace d with e by (solve [close])
  | (power ?q _, power ?q _) => replace d with e by (apply (@f_equal K K (power q)); solve [close])
  | (?f ?n _, ?f ?m _) => tryif constr_eq f power then fail else
      lazymatch type of n with
      | Z => tryif constr_eq n m then replace d with e by (walk ltac:(solve [close])) else fail
      | K => replace d with e by (walk ltac:(solve [close]))
      end
  | (?f _, ?f _) => replace d with e by (apply (@f_equal K K f); solve [close])
  end.
Ltac twins e others close :=
  lazymatch others with
  | (?others, ?d) => (tryif constr_eq e d then idtac else (try twin e d close)); twins e others close
  | _ => idtac
  end.
Ltac values found others close :=
  lazymatch found with
  | (?found, ?e) =>
      twins e others close;
      try (lazymatch goal with |- _ = ?r => lazymatch r with context [e] => idtac end end;
           let v := fresh "v" in generalize e; intros v);
      values found others close
  | _ => idtac
  end.
Ltac innermost l := wholes_of l tt ltac:(fun e => tryif within e then fail else idtac).
Ltac valued close :=
  lazymatch goal with |- ?l = ?r =>
    let found := innermost l in let others := wholes_of r tt ltac:(fun e => idtac) in values found others close
  end.
(* The same of the left side alone: two of it may be equal. *)
Ltac own_values close := lazymatch goal with |- ?l = _ => let found := innermost l in values found found close end.
Ltac paired_by close :=
  alike; decide_brackets; repeat match goal with |- context [read ?b ?a ?o] => rewrite (read_true b a o) by arith end;
  repeat (match goal with |- ?l = ?r => reads l r close end); repeat (progress (valued close)).
Ltac kindred := paired_by ltac:(likely)
with likely := first [reflexivity | ring | meaning ltac:(ordered)]
with ordered :=
  first [ring | partner 0%nat ltac:(ordered) | partner 1%nat ltac:(ordered) | partner 2%nat ltac:(ordered)
        | progress kindred; ring | functions]
with functions :=  (* of one kind, and nothing beside them *)
  match goal with
  | |- sum _ _ = _ => fail 1
  | |- ?f ?a = ?f _ => whole (f a); walk ltac:(solve [likely])
  | |- ?f ?a ?b = ?f _ _ => whole (f a b); walk ltac:(solve [likely])
  end.
(* Where all sums stay where they are, and only what is in them is written anew. *)
Ltac beneath := paired_by ltac:(first [reflexivity | ring | under; progress beneath; ring]).
(* Where a bracket is false both sides are zero; where it is true, its range holds within the other factors. Those that
   are factors come first, and may leave nothing to decide; what takes a moment comes before what searches. *)
Ltac at_factor t :=
  lazymatch t with
  | ?a * ?b => first [at_factor a | at_factor b]
  | bracket (inside ?a ?n) => in_range a n ltac:(cbn [bracket]; zeros; ring)
  end.
Ltac at_factors :=
  repeat (lazymatch goal with |- ?l = _ => at_factor l end; decided_reads).
Ltac by_factors put := progress at_factors; put; first [ring | progress kindred; ring].
Ltac lightly :=
  first [ring | outside | pulled ltac:(walk likely) | progress cases; first [ring | walk likely] | likely
        | progress (rewrite ?power_one); likely | progress decide_brackets; likely | progress zeros; likely].
Ltac guards :=
  first [lightly | plain | progress (rewrite ?power_one); plain | progress decide_brackets; plain | progress zeros; plain
        | progress cases; first [ring | walk plain]].
(* A digit of a number, by Z.div, or what is left of the number, by Z.modulo, coefficient by coefficient. *)
Ltac scaled k i := lazymatch k with 0%Z => k | 1%Z => i | _ => constr:((k * i)%Z) end.
Ltac total op a b := lazymatch constr:((op, a, b)) with (_, _, 0%Z) => a | (Z.add, 0%Z, _) => b | _ => constr:(op a b) end.
Ltac digit op m s :=
  lazymatch s with
  | (?a + ?b)%Z => let a := digit op m a in let b := digit op m b in total Z.add a b
  | (?a - ?b)%Z => let a := digit op m a in let b := digit op m b in total Z.sub a b
  | (?c * ?i)%Z => let k := eval compute in (op c m) in scaled k i
  | _ =>
      lazymatch isZcst s with
      | true => eval compute in (op s m)
      | _ => let k := eval compute in (op 1%Z m) in scaled k s
      end
  end.
(* Brackets in every case that arithmetic leaves. *)
Ltac brackets :=
  repeat match goal with |- context [bracket ?b] =>
    let E := fresh "E" in destruct b eqn:E; cbn [bracket]; try solve [exfalso; arith] end;
  first [ring | progress kindred; ring].
Ltac settle :=
  first [ring | progress kindred; first [ring | brackets] | brackets
        | repeat (progress (own_values ltac:(likely))); progress kindred; ring].
Ltac terms := first [settle | apply (f_equal2 add); terms | same settle].
(* Where brackets pin sums, and where sums stand within functions and within sums of other factors, any sum may be the
   partner. What is no sum or product of others, a function of what is equal in the same way, is written alike on both
   sides; then they are a rearrangement, or one in each case of their ranges. *)
Ltac place f m :=  (* where the terms of f read a range of m *)
  let i := fresh "i" in constr:(fun i : Z => ltac:(let t := eval cbv beta in (f i) in
    match t with context [inside ?a m] => match a with context [i] => exact a end end)).
Ltac nowhere := intros; repeat (apply sum_vanish; intros; cbv beta); cases; ring.
Ltac paired :=
  first [partner 0%nat ltac:(paired) | partner 1%nat ltac:(paired) | partner 2%nat ltac:(paired)
        | reindexed | symmetry; reindexed | summands]
with reindexed := cbv beta; lazymatch goal with |- sum ?n ?f = sum ?m ?g =>
    let u := place f m in let u0 := eval cbv beta in (u 0%Z) in
    first [ apply (reindex n m u (fun j => j - u0)%Z f g); [intros; cbv beta; lia | intros; cbv beta; lia | .. ]
          | apply (reindex n m u (fun j => u0 - j)%Z f g); [intros; cbv beta; lia | intros; cbv beta; lia | .. ] ];
    cbv beta; [intros; cbv beta; paired | nowhere | nowhere]
  end
with summands := first [agree | apply (f_equal2 add); summands]
with agree :=
  first [ring | applied | progress ranges; agree | progress (paired_by ltac:(pinning)); first [ring | inner] | inner]
with applied := match goal with
  | |- ?f _ = ?f _ => first [is_var f | match f with power _ => idtac end]; apply (@f_equal K K f); pinning
  | |- ?f _ _ = ?f _ _ => is_var f; apply (@f_equal2 K K K f); pinning
  end
with inner := first [brackets | progress cases; agree]
with pinning :=
  first [reflexivity | ring |
    eapply eq_trans; [level | symmetry]; eapply eq_trans; [level | symmetry]; paired].
(* From the cheapest to the dearest. *)
Ltac tidy :=
  first
  [ reflexivity | ring | progress (rewrite ?power_one); ring | outside | subscripts | progress zeros; ring
  | decide_brackets; ring | progress cases; first [decide_brackets; ring | agree] ].
(* A step that only writes its line anew. *)
Ltac equal := first [direct | each ltac:(agree) | same tidy].
(* Terms in which a bracket is false everywhere; brackets between two numbers of the same radix. *)
Ltac absent :=
  repeat (apply sum_vanish; intros; cbv beta);
  match goal with |- context [bracket ?b] =>
    rewrite (false_zero b) by (unfold inside in *; Z.to_euclidean_division_equations; lia); ring end.
Ltac vanishing :=
  repeat match goal with |- context [sum ?n ?f] => rewrite (sum_vanish n f) by (intros; cbv beta; absent) end;
  first [ring | decide_brackets; ring].
Ltac digits :=
  rewrite ?both; f_equal; apply eq_true_iff_eq; rewrite ?andb_true_iff, ?Z.eqb_eq;
  split; intros; lia.
(* Sums over one index. *)
Ltac alone := same ltac:(first [rewrite single_term; cbv beta; alone | tidy]).
(* What `distribute` makes of a line: a sum of terms, each a sum of products; what holds no bracket stays closed. *)
Ltac open e := match e with context [Z.eqb] => idtac end.
Ltac split_sum :=
  cbv beta;
  match goal with
  | |- sum ?n (fun i => add (@?f i) (@?g i)) = _ =>
      eapply eq_trans; [exact (sum_add n f g) | eapply (f_equal2 add); [split_sum | split_sum]]
  | |- _ => reflexivity
  end.
Ltac push :=
  match goal with
  | |- (?a + ?b) * ?c = _ =>
      open (a + b); eapply eq_trans; [exact (distribute_right c a b) | eapply (f_equal2 add); [push | push]]
  | |- sum ?n ?f * ?c = _ =>
      open f; eapply eq_trans; [exact (sum_mul n c f) |
      eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; cbv beta; push | split_sum]]
  | |- ?c * (?a + ?b) = _ =>
      open (a + b); eapply eq_trans; [exact (distribute_left c a b) | eapply (f_equal2 add); [push | push]]
  | |- ?c * sum ?n ?f = _ =>
      open f; eapply eq_trans; [exact (mul_sum n c f) |
      eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; cbv beta; push | split_sum]]
  | |- ?a * (?b * ?c) = _ =>
      eapply eq_trans; [exact (associate_factors a b c) | eapply (f_equal2 mul); [push | reflexivity]]
  | |- _ => reflexivity
  end.
Ltac expand :=
  match goal with
  | |- ?e = _ => open e
  | |- _ => fail 1
  end;
  match goal with
  | |- sum ?n _ = _ =>
      eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; cbv beta; grow | split_sum]
  | |- _ + _ = _ => eapply (f_equal2 add); [grow | grow]
  | |- _ * _ = _ => eapply eq_trans; [eapply (f_equal2 mul); [grow | grow] | push]
  end
with grow := first [expand | reflexivity].
Ltac spread := eapply eq_trans; [grow | rewrite ?associate_terms; direct].
(* Where lines divide: `unit` knows of a divisor that it is not zero, and then it goes out against its reciprocal. *)
Ltac reciprocals unit :=
  repeat match goal with |- context [power (-1 # 1) ?a] =>
    let U := fresh "U" in assert (U : power (-1 # 1) a * a = one) by unit; revert U; generalize (power (-1 # 1) a);
    let b := fresh "b" in intros b U
  end.
Ltac divided unit :=
  reciprocals unit;
  first
  [ ring | match goal with U : ?b * _ = one |- _ => ring [U] end
  | match goal with U : ?b * _ = one, V : ?c * _ = one |- _ => ring [U V] end ].
(* A sum of what differs from a mean: the sum, less as many times the mean, which `close` writes out. *)
Ltac less :=
  cbv beta;
  lazymatch goal with
  | |- sum ?n _ = _ =>
      eapply eq_trans; [eapply sum_ext; let i := fresh "i" in intros i ?; less | cbv beta];
      match goal with |- sum n (fun i => add (@?f i) (mul _ ?c)) = _ => exact (sum_less n f c) end
  | |- _ => reflexivity
  end.
Ltac vanish close := eapply eq_trans; [less | cbv beta; close].
Ltac count :=
  repeat match goal with |- context [Z.max 0 ?n] =>
    lazymatch isZcst n with true => let m := eval compute in (Z.max 0 n) in change (Z.max 0 n) with m end end.

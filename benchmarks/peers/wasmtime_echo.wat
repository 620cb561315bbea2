;; A WebAssembly module that answers what it was sent. The host asks `room` where to put the input, writes it there,
;; calls `echo`, and reads the answer from where that says. One request at a time; the memory is used again.
(module
  (memory (export "memory") 2)

  ;; Returns an address with room for an input of that size and its answer.
  (func (export "room") (param $size i32) (result i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.add (i32.const 2) (i32.shr_u (i32.mul (local.get $size) (i32.const 2)) (i32.const 16)))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (drop (memory.grow (local.get $missing)))))
    (i32.const 65536))

  ;; Copies the input and returns the address of the copy, which has the same size.
  (func (export "echo") (param $data i32) (param $size i32) (result i32)
    (memory.copy
      (i32.add (local.get $data) (local.get $size))
      (local.get $data)
      (local.get $size))
    (i32.add (local.get $data) (local.get $size))))

use smbios_creds::format::credential::Secret;
use smbios_creds::host::launch::private_argv::stack::{Replacement, StackError, relocate};

use crate::input::Input;
use testkit::stack::{AT_EXECFN, AT_PHENT, AT_PLATFORM, AT_SECURE, Stack, after};

/// Relocates the initial stack of a program. If the stack is laid out like the kernel does it, its arguments, variables
/// and auxiliary vector must be the same afterwards, except for the replaced arguments. Any other bytes are refused, or
/// only the pointer to the replaced argument may change.
pub fn private_argv(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() % 4 == 0 { any_bytes(&mut input) } else { any_stack(&mut input) }
}

/// Takes a string without NUL bytes. `Stack` adds the NUL byte that ends it.
fn string(input: &mut Input<'_>) -> Vec<u8> {
    input.piece().iter().copied().filter(|&byte| byte != 0).collect()
}

fn any_stack(input: &mut Input<'_>) {
    let pointer = (0x1000_0000 + input.word() % 0x7fff_e000_0000) & !15;
    let above = input.byte().into();
    let phent = input.byte();
    let mut arguments =
        input.several(|input| (string(input), (input.byte() % 2 == 1).then(|| string(input))));
    if arguments.is_empty() {
        arguments.push((b"name".to_vec(), None));
    }
    let environment = input.several(string);
    let mut auxiliary = input.several(|input| (u64::from(input.byte()), input.word()));
    // The kernel ends the auxiliary vector with type 0, and AT_PHENT occurs once. AT_PLATFORM and AT_EXECFN are
    // pointers to strings, which `Stack` sets.
    auxiliary.retain(|&(kind, _)| kind != 0 && kind != AT_PHENT);
    for (kind, value) in &mut auxiliary {
        if matches!(*kind, AT_PLATFORM | AT_EXECFN) {
            *value = 0;
        }
    }
    auxiliary.insert(usize::from(phent) % (auxiliary.len() + 1), (AT_PHENT, 56));
    let stack =
        Stack { arguments: arguments.iter().map(|(text, _)| text.clone()).collect(), environment, auxiliary };
    let bytes = stack.bytes(pointer, above);

    let mut expected = stack.clone();
    let mut replacements = Vec::new();
    for (index, (placeholder, value)) in arguments.iter().enumerate() {
        if let Some(value) = value {
            expected.arguments[index].clone_from(value);
            let value = Secret::from(value.clone());
            replacements.push(Replacement { placeholder: placeholder.clone(), value });
        }
    }
    // An argument that is not replaced must not be equal to a placeholder.
    let relocated = relocate(&bytes, pointer, &replacements);
    let ambiguous = arguments
        .iter()
        .any(|(text, value)| value.is_none() && replacements.iter().any(|r| r.placeholder == *text));
    if ambiguous {
        assert!(matches!(relocated, Err(StackError::Placeholders { .. })));
        return;
    }
    let relocated = relocated.unwrap();
    assert_eq!(relocated.stack_pointer % 16, 0);
    let secure =
        stack.auxiliary.iter().rfind(|(kind, _)| *kind == AT_SECURE).is_some_and(|(_, value)| *value != 0);
    assert_eq!(relocated.secure, secure);
    let (memory, at) = after(&bytes, pointer, &relocated);
    let found = Stack::read(&memory, at, at);
    assert_eq!(found.arguments, expected.arguments);
    assert_eq!(found.environment, expected.environment);
    assert_eq!(found.auxiliary, expected.auxiliary);
    let room: usize = replacements.iter().map(|replacement| replacement.value.len() + 1).sum();
    assert!(pointer - at < (room + 16) as u64, "no more room than it takes");
    assert_eq!(
        memory[relocated.bytes.len()..],
        bytes[bytes.len() - (memory.len() - relocated.bytes.len())..]
    );

    // A stack that is cut anywhere in the block that moves is refused.
    let block = relocated.bytes.len() - room.next_multiple_of(16);
    let cut = usize::from(phent) * 7 % block;
    assert!(relocate(&bytes[..cut], pointer, &[]).is_err());
}

fn any_bytes(input: &mut Input<'_>) {
    let pointer = input.word();
    let count = u64::from(input.byte());
    let value = input.piece();
    let placeholder = input.piece().to_vec();
    let mut stack = input.0.to_vec();
    // A fuzzer does not guess the eight bytes of a correct argument count, so write a count for every second value.
    if value.len().is_multiple_of(2) && stack.len() >= 8 {
        stack[..8].copy_from_slice(&count.to_ne_bytes());
    }
    let replacement = Replacement { placeholder, value: Secret::from(value.to_vec()) };
    let Ok(relocated) = relocate(&stack, pointer, &[replacement]) else { return };
    let room = (value.len() + 1).next_multiple_of(16);
    assert_eq!(relocated.stack_pointer + room as u64, pointer);
    let block = relocated.bytes.len() - room;
    let mut changed = 0;
    for (before, after) in stack[..block].chunks(8).zip(relocated.bytes.chunks(8)) {
        if after != before {
            assert_eq!(after, (relocated.stack_pointer + block as u64).to_ne_bytes());
            changed += 1;
        }
    }
    assert!(changed <= 1, "one argument is replaced");
    assert_eq!(relocated.bytes[block..block + value.len()], *value);
    assert!(relocated.bytes[block + value.len()..].iter().all(|&byte| byte == 0));
}

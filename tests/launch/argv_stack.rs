//! `relocate` rebuilds a program's stack for private arguments: the new stack holds what the old one held, except for
//! the replaced arguments.

use proptest::collection::vec;
use proptest::prelude::*;
use smbios_creds::format::credential::Secret;
use smbios_creds::host::launch::private_argv::stack::{Replacement, StackError, relocate};
use testkit::stack::{AT_BASE, AT_EXECFN, AT_PHENT, AT_PLATFORM, AT_SECURE, Stack, after};

fn string() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..40)
}

prop_compose! {
    fn stack()(
        arguments in vec(string(), 1..12),
        environment in vec(string(), 0..12),
        kinds in vec((5_u64..60, any::<u64>()), 0..12),
        at in 0_usize..12,
    ) -> Stack {
        let mut auxiliary: Vec<(u64, u64)> = kinds
            .into_iter()
            .map(|(kind, value)| if matches!(kind, AT_PLATFORM | AT_EXECFN | AT_SECURE) { (kind, 0) } else { (kind, value) })
            .collect();
        auxiliary.insert(at.min(auxiliary.len()), (AT_PHENT, 56));
        Stack { arguments, environment, auxiliary }
    }
}

fn replacement(placeholder: &[u8], value: &[u8]) -> Replacement {
    Replacement { placeholder: placeholder.to_vec(), value: Secret::from(value.to_vec()) }
}

/// Returns a small valid stack, which the tests change.
fn small() -> Stack {
    Stack {
        arguments: vec![b"name".to_vec(), b"@".to_vec(), b"last".to_vec()],
        environment: vec![b"A=b".to_vec()],
        auxiliary: vec![(AT_PHENT, 56), (AT_BASE, 7), (AT_SECURE, 0), (AT_EXECFN, 0)],
    }
}

const POINTER: u64 = 0x7ffc_1234_5670;

fn error(stack: &Stack, replacement: Replacement) -> StackError {
    relocate(&stack.bytes(POINTER, 0), POINTER, &[replacement]).err().unwrap()
}

proptest! {
    #[test]
    fn any_stack_relocates_to_an_equal_one(
        stack in stack(),
        above in 0_usize..64,
        pointer in 0x1000_0000_u64..0x7fff_ffff_f000,
        values in vec(proptest::option::of(vec(1..=u8::MAX, 0..300)), 12),
    ) {
        let pointer = pointer & !15;
        let bytes = stack.bytes(pointer, above);
        prop_assert_eq!(&Stack::read(&bytes, pointer, pointer).arguments, &stack.arguments);
        let mut expected = stack.clone();
        let mut replacements = Vec::new();
        let mut kept = Vec::new();
        for (argument, value) in expected.arguments.iter_mut().zip(&values) {
            if let Some(value) = value {
                replacements.push(replacement(argument, value));
                argument.clone_from(value);
            } else {
                kept.push(argument.clone());
            }
        }
        let relocated = relocate(&bytes, pointer, &replacements);
        if replacements.iter().any(|replacement| kept.contains(&replacement.placeholder)) {
            let refused = matches!(relocated, Err(StackError::Placeholders { .. }));
            prop_assert!(refused);
            return Ok(());
        }
        let relocated = relocated.unwrap();
        prop_assert_eq!(relocated.stack_pointer % 16, 0);
        let (memory, at) = after(&bytes, pointer, &relocated);
        let found = Stack::read(&memory, at, at);
        prop_assert_eq!(found.arguments, expected.arguments);
        prop_assert_eq!(found.environment, expected.environment);
        prop_assert_eq!(found.auxiliary, expected.auxiliary);
        // The stack grows by the values and an alignment only, and no byte above its block of pointers is changed.
        let room: usize = replacements.iter().map(|replacement| replacement.value.len() + 1).sum();
        prop_assert!(pointer - at < (room + 16) as u64);
        let block = bytes.len() - (memory.len() - relocated.bytes.len());
        prop_assert_eq!(&memory[relocated.bytes.len()..], &bytes[block..]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in vec(prop_oneof![Just(0_u8), 0..4_u8, any::<u8>()], 0..400),
        pointer in prop_oneof![any::<u64>(), Just(0), Just(16), Just(!15)],
        count in prop_oneof![any::<usize>(), 0_usize..8],
        matching in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if matching && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&(count as u64).to_ne_bytes());
        }
        _ = relocate(&bytes, pointer, &[replacement(b"", b"value")]);
    }

    #[test]
    fn a_stack_cut_anywhere_in_its_block_is_refused(cut in 0_usize..(1 + 3 + 1 + 1 + 1 + 10) * 8) {
        let bytes = small().bytes(POINTER, 0);
        let error = relocate(&bytes[..cut], POINTER, &[replacement(b"@", b"value")]).err();
        prop_assert_eq!(error, Some(StackError::Malformed));
    }
}

#[test]
fn a_program_that_is_not_the_one_meant_is_refused() {
    let value = || replacement(b"@", b"value");
    assert!(relocate(&small().bytes(POINTER, 0), POINTER, &[value()]).is_ok());
    let none = StackError::Placeholders { expected: 1, found: 0 };
    for placeholder in [&b"@@"[..], b""] {
        assert_eq!(error(&small(), replacement(placeholder, b"value")), none);
    }
    let mut twice = small();
    twice.arguments.push(b"@".to_vec());
    assert_eq!(error(&twice, value()), StackError::Placeholders { expected: 1, found: 2 });
    assert!(relocate(&twice.bytes(POINTER, 0), POINTER, &[value(), value()]).is_ok());
    let more = [value(), value(), replacement(b"name", b"value")];
    let error_of_more = relocate(&small().bytes(POINTER, 0), POINTER, &more).err();
    assert_eq!(error_of_more, Some(StackError::Placeholders { expected: 3, found: 2 }));
    for header in [32, 0] {
        let mut other = small();
        other.auxiliary[0].1 = header;
        assert_eq!(error(&other, value()), StackError::NotElf64);
    }
    let mut none = small();
    none.auxiliary.remove(0);
    assert_eq!(error(&none, value()), StackError::NotElf64);
    let bytes = small().bytes(POINTER + 8, 0);
    assert_eq!(relocate(&bytes, POINTER + 8, &[value()]).err(), Some(StackError::Alignment));
    let bytes = small().bytes(16, 0);
    let long = || replacement(b"@", &[b'x'; 16]);
    assert_eq!(relocate(&bytes, 16, &[long()]).err(), Some(StackError::Room));
    assert!(relocate(&small().bytes(32, 0), 32, &[long()]).is_ok());
}

#[test]
fn a_change_of_privileges_is_told() {
    for secure in [0, 1] {
        let mut stack = small();
        stack.auxiliary[2].1 = secure;
        let relocated = relocate(&stack.bytes(POINTER, 0), POINTER, &[replacement(b"@", b"value")]);
        assert_eq!(relocated.unwrap().secure, secure == 1);
    }
}

#[test]
fn placeholders_are_found_in_any_order_and_at_any_place() {
    let mut stack = small();
    for arguments in [["first", "second", "x"], ["x", "second", "first"], ["second", "x", "first"]] {
        stack.arguments = arguments.map(|argument| argument.as_bytes().to_vec()).to_vec();
        let replacements = [replacement(b"first", b"1"), replacement(b"second", b"22")];
        let bytes = stack.bytes(POINTER, 0);
        let relocated = relocate(&bytes, POINTER, &replacements).unwrap();
        let (memory, at) = after(&bytes, POINTER, &relocated);
        let found = Stack::read(&memory, at, at).arguments;
        let expected = arguments.map(|argument| match argument {
            "first" => "1",
            "second" => "22",
            other => other,
        });
        assert_eq!(found, expected.map(|argument| argument.as_bytes().to_vec()));
    }
}

#[test]
fn a_pointer_out_of_the_stack_is_refused() {
    for pointer in [0, POINTER - 1, POINTER + 100_000, u64::MAX] {
        let mut bytes = small().bytes(POINTER, 0);
        bytes[16..24].copy_from_slice(&pointer.to_ne_bytes());
        let error = relocate(&bytes, POINTER, &[replacement(b"@", b"value")]).err();
        // An argument outside of the stack is no placeholder, and a null pointer ends the list of arguments.
        assert_eq!(error, Some(StackError::Placeholders { expected: 1, found: 0 }), "{pointer:#x}");
    }
}

//! The domain XML of libvirt.

use smbios_creds::host::hypervisor::libvirt;
use smbios_creds::host::strings::OemStrings;

#[test]
fn libvirts_xml_is_escaped() {
    let strings = OemStrings::new(&[testkit::credential("a<b>&c", b"x")]).unwrap();
    let xml = String::from_utf8(libvirt::xml(&strings).expose().to_vec()).unwrap();
    assert!(xml.starts_with("<os><smbios mode='sysinfo'/></os>\n<sysinfo type='smbios'>\n  <oemStrings>\n"));
    assert!(xml.contains("<entry>io.systemd.credential.binary:a&lt;b&gt;&amp;c=eA==</entry>\n"), "{xml}");
    assert!(xml.ends_with("</entry>\n  </oemStrings>\n</sysinfo>\n"));
}

"""The text and the attachments that mailbell finds in messages, beside what Python's email package finds.

Messages: those that CPython's own tests have (from the Python that runs this), generated ones in 13 charsets and three
transfer encodings, and shapes of real mail written by hand. Each difference must stand in content-differences.md, with the
reason; one that stands there and does not occur is an error too.
"""
import base64, email, email.policy, hashlib, json, os, pathlib, quopri, re, subprocess, sysconfig

from .common import BINARY, check

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = {
    "utf-8": "Grüße aus Köln, 日本語 €", "iso-8859-1": "Grüße aus Köln", "iso-8859-15": "Grüße für 5 €", "windows-1252": "„Grüße“ für 5 €",
    "windows-1251": "Привет из Москвы", "koi8-r": "Привет из Москвы", "gb2312": "你好，世界", "gb18030": "你好，世界", "big5": "你好，世界",
    "shift_jis": "日本語のメール", "euc-jp": "日本語のメール", "iso-2022-jp": "日本語のメール", "euc-kr": "안녕하세요 세계",
}


def generated():
    """A multipart/alternative with an attachment in each charset, in each transfer encoding that can carry it."""
    for charset, text in TEXTS.items():
        octets = (text + "\nsecond line\n").encode(charset)
        page = f"<p>{text}</p>\n".encode(charset)
        for transfer in ("8bit", "quoted-printable", "base64"):
            encode = {"8bit": lambda o: o, "quoted-printable": quopri.encodestring, "base64": base64.encodebytes}[transfer]
            word = base64.b64encode(text.encode(charset)).decode()
            percent = "".join(f"%{octet:02X}" for octet in text.encode("utf-8"))
            yield f"generated-{charset}-{transfer}", b"".join([
                f"From: a@example.org\nSubject: =?{charset}?B?{word}?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n".encode(),
                b"--m\nContent-Type: multipart/alternative; boundary=a\n\n",
                f"--a\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {transfer}\n\n".encode(), encode(octets),
                f"\n--a\nContent-Type: text/html; charset=\"{charset.upper()}\"\nContent-Transfer-Encoding: {transfer}\n\n".encode(), encode(page),
                b"\n--a--\n",
                f"--m\nContent-Type: text/plain; charset={charset}\nContent-Disposition: attachment; filename*=UTF-8''{percent}.txt\nContent-Transfer-Encoding: {transfer}\n\n".encode(), encode(octets),
                f"\n--m\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"=?{charset}?B?{word}?=\"\nContent-Transfer-Encoding: base64\n\nAAEC\n".encode(),
                b"--m--\n"])


def multipart(kind, parts, head="From: a@example.org\nSubject: x\nMIME-Version: 1.0\n", boundary="b1"):
    body = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"{head}Content-Type: multipart/{kind}; boundary=\"{boundary}\"\n\nThis is a multi-part message in MIME format.\n{body}--{boundary}--\n"


def shapes():
    """What mail programs and devices write."""
    image = "Content-Type: image/png; name=\"image001.png\"\nContent-ID: <image001.png@01D9>\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; filename=\"image001.png\"\n\niVBORw0KGgo=\n"
    pdf = "Content-Type: application/pdf; name=\"Invoice 7.pdf\"\nContent-Disposition: attachment; filename=\"Invoice 7.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0xLjcK\n"
    plain, html = "Content-Type: text/plain; charset=\"UTF-8\"\n\nHello *world*\n", "Content-Type: text/html; charset=\"UTF-8\"\nContent-Transfer-Encoding: quoted-printable\n\n<div dir=3D\"ltr\">Hello <b>world</b></div>\n"
    bare = lambda part, boundary: multipart(part[0], part[1], head="", boundary=boundary)
    yield "gmail", multipart("mixed", [bare(("related", [bare(("alternative", [plain, html]), "000a2"), image]), "000a1"), pdf])
    yield "gmail-alternative", multipart("alternative", [plain, html])
    yield "outlook", multipart("related", [bare(("alternative", [plain, html]), "_001_"), image], boundary="_000_=_NextPart")
    yield "outlook-tnef", multipart("mixed", [plain, "Content-Type: application/ms-tnef; name=\"winmail.dat\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"winmail.dat\"\n\neJ8+IgEA\n"])
    yield "apple-mail", multipart("alternative", ["Content-Type: text/plain;\n\tcharset=us-ascii\n\nHello\n", bare(("mixed", ["Content-Type: text/html;\n\tcharset=us-ascii\n\n<html><body>Hello</body></html>\n", pdf]), "Apple-Mail=_2")], boundary="Apple-Mail=_1")
    yield "apple-mail-fragments", multipart("mixed", ["Content-Type: text/plain; charset=us-ascii\n\nabove\n", image, "Content-Type: text/plain; charset=us-ascii\n\nbelow\n"])
    yield "scanner", "From: scan@example.org\nSubject: Scan\nMIME-Version: 1.0\nContent-Type: application/pdf; name=\"scan_0001.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0xLjcK\n"
    yield "camera", multipart("mixed", ["Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n\nMotion detected\n\n", "Content-Type: image/jpeg; name=\"cam 1.jpg\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"cam 1.jpg\"\n\n/9j/4AAQ\n/9j/4AAQ"])
    yield "camera-no-mime-version", "Subject: alarm\nContent-Type: multipart/mixed;boundary=x\n\n--x\nContent-Type: image/jpeg\nContent-Transfer-Encoding: BASE64\n\n/9j/4AAQ\n--x--"
    yield "smime-signed", multipart('signed; protocol="application/pkcs7-signature"; micalg=sha-256', [plain, "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"smime.p7s\"\n\nMIAGCSqG\n"])
    yield "smime-enveloped", "Subject: x\nMIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Disposition: attachment; filename=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIAGCSqG\n"
    yield "pgp-encrypted", multipart('encrypted; protocol="application/pgp-encrypted"', ["Content-Type: application/pgp-encrypted\n\nVersion: 1\n", "Content-Type: application/octet-stream; name=\"encrypted.asc\"\n\n-----BEGIN PGP MESSAGE-----\n\nx\n-----END PGP MESSAGE-----\n"])
    yield "format-flowed", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8; format=flowed; delsp=no\nContent-Transfer-Encoding: 8bit\n\nA paragraph that goes \nover two lines.\n> quoted \n> text\n-- \nAnn\n"
    yield "smime-opaque", "Subject: x\nMIME-Version: 1.0\nContent-Type: application/x-pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"smime.p7m\"\nContent-Description: S/MIME Encrypted Message\n\nMIAGCSqGSIb3DQEHAqCA\n"
    yield "smime-signed-html", multipart('signed; protocol="application/x-pkcs7-signature"; micalg=sha1', [bare(("mixed", [bare(("alternative", [plain, html]), "=_a"), pdf]), "=_m"), "Content-Type: application/x-pkcs7-signature; name=\"smime.p7s\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"smime.p7s\"\n\nMIAGCSqG\n"], boundary="----EE6F")
    yield "outlook-tnef-alone", "Subject: x\nX-MS-TNEF-Correlator: <1@x>\nMIME-Version: 1.0\nContent-Type: application/ms-tnef;\n\tname=\"winmail.dat\"\nContent-Transfer-Encoding: base64\n\neJ8+IgEA\n"
    yield "outlook-rtf-message", multipart("mixed", [plain, "Content-Type: message/rfc822\n\nSubject: =?utf-8?q?w=C3=A4re?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ninner\n", "Content-Type: application/vnd.ms-outlook; name=\"item.msg\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"item.msg\"; size=3;\n\tcreation-date=\"Mon, 23 Nov 2026 08:00:00 GMT\"\n\n0M8R\n"], boundary="_004_AM0PR.eurprd_")
    yield "apple-mail-related", multipart("alternative", ["Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain;\n\tcharset=utf-8\n\nGr=C3=BC=C3=9Fe=\n aus=20\nK=C3=B6ln\n", bare(('related;\n\ttype="text/html"', [html, image]), "Apple-Mail=_4")], boundary="Apple-Mail=_3")
    yield "iphone-photo", multipart("mixed", ["Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n\n\n", "Content-Type: image/heic; name=IMG_0001.HEIC; x-apple-part-url=7\nContent-Disposition: inline; filename=IMG_0001.HEIC\nContent-Transfer-Encoding: base64\n\nAAAAGGZ0eXA=\n", "Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n\n\nVon meinem iPhone gesendet\n"], boundary="Apple-Mail-7")
    yield "scanner-pages", "From: scanner@example.org\nSubject: Scan\nMIME-Version: 1.0\n" + multipart("mixed", ["Content-Type: text/plain; charset=\"ISO-8859-1\"\nContent-Transfer-Encoding: quoted-printable\n\nGescannt f=FCr Sie\n", *(f"Content-Type: image/tiff; name=\"Seite {page}.tif\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"Seite {page}.tif\"\n\nSUkqAA==\n" for page in (1, 2, 3))], head="", boundary="KONICA_MINOLTA_001")
    yield "camera-clip", multipart("mixed", ["Content-Type: text/html; charset=gb2312\nContent-Transfer-Encoding: base64\n\nPHA+xOO6wzwvcD4=\n", "Content-Type: application/octet-stream;\n\tname=\"=?gb2312?B?xOO6wy5hdmk=?=\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment;\n\tfilename=\"=?gb2312?B?xOO6wy5hdmk=?=\"\n\nUklGRg==\n"], boundary="#BOUNDARY#")
    yield "gmail-name-in-both-forms", multipart("mixed", [bare(("alternative", [plain, html]), "000b2"), "Content-Type: application/pdf; name=\"=?UTF-8?B?R3LDvMOfZS5wZGY=?=\"\nContent-Disposition: attachment; filename=\"=?UTF-8?B?R3LDvMOfZS5wZGY=?=\"\nContent-Transfer-Encoding: base64\nX-Attachment-Id: f_1\nContent-ID: <f_1>\n\nJVBERi0x\n"], boundary="000b1")
    yield "format-flowed-delsp", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=iso-2022-jp; format=flowed; delsp=yes\nContent-Transfer-Encoding: 7bit\n\n" + "日本語の \n長い行\n".encode("iso-2022-jp").decode("ascii")
    yield "format-flowed-signed", multipart('signed; protocol="application/pgp-signature"; micalg=pgp-sha512', ["Content-Type: text/plain; charset=utf-8; format=flowed\nContent-Transfer-Encoding: quoted-printable\n\nflowed=20\ntext\n\n--=20\nAnn\n", "Content-Type: application/pgp-signature; name=\"OpenPGP_signature.asc\"\nContent-Description: OpenPGP digital signature\nContent-Disposition: attachment; filename=\"OpenPGP_signature.asc\"\n\n-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n"])
    yield "list-footer", multipart("mixed", [plain, "Content-Type: text/plain; charset=us-ascii\nContent-Disposition: inline\n\n____\nlist@example.org\n"])
    yield "report", multipart("report; report-type=delivery-status", ["Content-Type: text/plain; charset=us-ascii\n\nYour mail was not delivered.\n", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\nFinal-Recipient: rfc822; b@c\nAction: failed\n", "Content-Type: text/rfc822-headers\n\nSubject: lost\n"])
    yield "forwarded", multipart("mixed", [plain, "Content-Type: message/rfc822\nContent-Disposition: attachment; filename=\"inner.eml\"\n\nSubject: inner\nContent-Type: text/plain\n\ninner text\n"])
    yield "invitation", multipart("alternative", [plain, html, "Content-Type: text/calendar; charset=utf-8; method=REQUEST\n\nBEGIN:VCALENDAR\nEND:VCALENDAR\n"])
    yield "html-only", "Subject: x\nContent-Type: text/html\n\n<p>Hello</p>\n"
    yield "text-attachment-first", multipart("mixed", ["Content-Type: text/plain\nContent-Disposition: attachment; filename=\"log.txt\"\n\nlog\n", plain])
    yield "text-with-name", multipart("mixed", [plain, "Content-Type: text/plain; name=\"notes.txt\"\n\nnotes\n"])
    yield "no-content-type", "Subject: x\n\nHello\n"
    yield "broken-base64", multipart("mixed", [plain, "Content-Type: application/x; name=a.bin\nContent-Transfer-Encoding: base64\n\nAAEC*AwQ\nF!\n"])
    yield "base64-with-footer", "Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nSGVsbG8=\n\n-- \nlist footer\n"
    yield "broken-quoted-printable", "Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n100=% =zz soft=\nbreak =C3=A4 =\n"
    yield "unterminated", multipart("mixed", [plain, pdf]).rsplit("\n--b1--", 1)[0]
    yield "continued-name", multipart("mixed", [plain, "Content-Type: application/x\nContent-Disposition: attachment;\n filename*0*=UTF-8''%e4%bd%a0;\n filename*1*=%e5%a5%bd;\n filename*2=.txt\n\nx\n"])
    yield "uuencoded", "Subject: x\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a.txt\n%:&5L;&\\\n`\nend\n"
    yield "related-with-start", multipart('related; start="<root>"', [image, "Content-Type: text/html\nContent-ID: <root>\n\n<p>root</p>\n"])


def cpython():
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"]) / "test/test_email/data"
    for path in sorted(folder.glob("*.txt")):
        yield "cpython-" + path.stem, path.read_bytes()


def safe(name):
    """What mailbell makes of harmless names, and the part of hostile ones that is left."""
    if name is None:
        return None
    name = re.split(r"[/\\]", re.sub(r"[\x00-\x1f\x7f-\x9f]", "_", " ".join(name.split("\n")).replace("\t", " ")))[-1]
    return name.lstrip(".- ").rstrip(". ") or None


def decoded(part):
    octets = part.get_payload(decode=True)
    charset = part.get_content_charset() or "ascii"
    try:
        text = octets.decode(charset, "replace")
    except LookupError:
        text = octets.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def leaves(part):
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for inner in part.get_payload():
            yield from leaves(inner)
    else:
        yield part


def by_python(octets):
    message = email.message_from_bytes(octets, policy=email.policy.default)
    bodies = [message.get_body((kind,)) for kind in ("plain", "html")]
    text, html = [None if body is None else decoded(body) for body in bodies]
    attachments = []
    for part in leaves(message):
        if any(part is body for body in bodies):
            continue
        # What Python writes of a message within the message is not what was there.
        digest = None if part.is_multipart() else hashlib.sha256(part.get_payload(decode=True) or b"").hexdigest()
        attachments.append((part.get_content_type(), safe(part.get_filename()), digest))
    return text, html, attachments


def by_mailbell(folder, name):
    done = subprocess.run([BINARY, "cat", name, "--json"], capture_output=True, timeout=30,
                          env={**os.environ, "MAILBELL_CONFIG": str(folder / "mailbell.toml")})
    if done.returncode:
        raise RuntimeError(f"cat {name} --json: {done.stderr.decode()}")
    found = json.loads(done.stdout)
    return found["text"], found["html"], [(a["type"], a["name"], a["sha256"]) for a in found["attachments"]]


def differences(python, ours):
    """The names of what differs: text, html, attachments."""
    text, html, attachments = python
    # A message without a plain text has the text of its HTML; that is another test's affair.
    if text is not None and text != ours[0]:
        yield "text"
    if text is None and html is None and ours[0] is not None:
        yield "text"
    if html != ours[1]:
        yield "html"
    same = len(attachments) == len(ours[2]) and all(
        kind == k and (name or None) == n and digest in (None, d) for (kind, name, digest), (k, n, d) in zip(attachments, ours[2]))
    if not same:
        yield "attachments"


def listed():
    """Rows `| message | what | why |` of content-differences.md."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \|", (HERE / "content-differences.md").read_text(), re.M)
    return set(rows)


def compare(folder):
    maildir = folder / "mail/alice"
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    (folder / "users").write_text("alice:{PLAIN}x\n")
    (folder / "mailbell.toml").write_text('hostname = "mail.example.org"\nstate = "state"\n[mail]\nroot = "mail"\n[users]\nfile = "users"\n')
    (folder / "state").mkdir()
    found, count = {}, 0
    for name, octets in [*cpython(), *generated(), *shapes()]:
        octets = octets.encode() if isinstance(octets, str) else octets
        (maildir / "cur" / f"1.{name}:2,").write_bytes(octets)
        python, ours = by_python(octets), by_mailbell(folder, f"1.{name}")
        count += 1
        for what in differences(python, ours):
            found[name, what] = (python, ours)
    expected = listed()
    for key in sorted(set(found) - expected):
        print(f"  {key[0]}: {key[1]} differs\n    Python:   {found[key][0]}\n    mailbell: {found[key][1]}")
    for key in sorted(expected - set(found)):
        print(f"  {key[0]}: {key[1]} is listed as different and is the same")
    if set(found) != expected:
        raise RuntimeError("not the differences that content-differences.md lists")
    if count < 100:
        raise RuntimeError(f"only {count} messages: this Python has no test messages")
    print(f"  {count} messages, {len({name for name, _ in found})} of them differ as listed")


def run_all(scratch):
    scratch.mkdir(parents=True)
    check("text and attachments are those that Python finds", lambda: compare(scratch))

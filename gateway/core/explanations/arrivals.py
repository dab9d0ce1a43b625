"""Texts of what others sent that does not hold, and of the problem words of the peer protocol."""

from __future__ import annotations

from gateway.core.explanations.text import Text

_THEIRS = "The sending side must mend this; its gateway's log has the details."
_THEIRS_ZH = "须由对方更正；详情见对方网关日志。"
_AGAIN = "Nothing: it is tried again by itself."
_AGAIN_ZH = "无需处理：系统会自动重试。"

ARRIVALS: dict[str, Text] = {
    "remote-error": Text(zh="对方发来的内容不成立", en="something sent to us does not hold", fix=_THEIRS, fix_zh=_THEIRS_ZH),
    "problem": Text(zh="请求未被受理", en="the request was not taken", fix=_THEIRS, fix_zh=_THEIRS_ZH),
    "peer-problem": Text(
        zh="对方网关未受理",
        en="the other gateway answered with a problem",
        fix="The problem word says which; retryable ones are tried again by themselves.",
        fix_zh="请查看问题代码；可重试的会自动重试。",
    ),
    "held-back": Text(
        zh="收文内容须由人工决定",
        en="what was found in the content calls for a person",
        fix="Each reason says what a person must decide.",
        fix_zh="请按各条理由由人工决定。",
    ),
    "refused": Text(zh="公文被拒收", en="the document was refused", fix="Each reason says what mends it.", fix_zh="请按各条理由改正。"),
    "malformed": Text(zh="数据不符合格式", en="these bytes are not of the format they claim", fix=_THEIRS, fix_zh=_THEIRS_ZH),
    "unverified": Text(
        zh="签名、摘要或证书链验证失败",
        en="a signature, digest or chain does not hold",
        fix="Treat the content as altered; have it sent again.",
        fix_zh="应视为内容已被改动；请对方重新发送。",
    ),
    "unknown-suite": Text(zh="未知的密码套件", en="there is no such suite", fix="Use gm-1 or intl-1.", fix_zh="请使用 gm-1 或 intl-1。"),
    "unknown-level": Text(
        zh="没有这个密级",
        en="there is no such level",
        fix="Use public, internal, work-secret, secret, confidential or top-secret.",
        fix_zh="请使用 公开、内部、工作秘密、秘密、机密、绝密 之一。",
    ),
    "unknown-urgency": Text(
        zh="没有这个紧急程度",
        en="there is no such urgency",
        fix="Use flash, immediate, urgent or routine.",
        fix_zh="请使用 特提、特急、加急、平件 之一。",
    ),
    "organisation-code": Text(
        zh="不是有效的统一社会信用代码",
        en="not a unified social credit code",
        fix="Check the 18 characters; the last one is a check character.",
        fix_zh="请核对18位代码；末位为校验码。",
    ),
    "chain-broken": Text(
        zh="证书不能追溯到受信任的根",
        en="the certificate leads to no trusted root",
        fix="Use a certificate of the configured authority.",
        fix_zh="请使用受信任机构签发的证书。",
    ),
    "chain-invalid": Text(
        zh="发件单位的证书链不成立",
        en="the sender's certificate chain does not hold",
        fix="The sender needs a valid certificate of a trusted authority.",
        fix_zh="发件单位须使用受信任机构签发的有效证书。",
    ),
    "not-valid-at": Text(
        zh="证书在该时刻不在有效期内",
        en="the certificate was not valid at that moment",
        fix="Renew the certificate and list it in the directory.",
        fix_zh="请更新证书并列入目录。",
    ),
    "revoked": Text(
        zh="证书已被撤销",
        en="the certificate was revoked",
        fix="Have a new certificate issued and listed in the directory.",
        fix_zh="请重新签发证书并列入目录。",
    ),
    "revoked-later": Text(
        zh="签名证书在签名之后（{revoked_at}）被撤销",
        en="the signing certificate was revoked after it signed, at {revoked_at}",
        fix="A person decides: was the key still its owner's when it signed?",
        fix_zh="须人工判断：签名时密钥是否仍由本单位掌握。",
    ),
    "wrong-purpose": Text(
        zh="证书不能用于此用途",
        en="the certificate is not for this purpose",
        fix="Use the certificate issued for it (signing, encryption, TLS and time stamping are separate).",
        fix_zh="请使用对应用途的证书（签名、加密、TLS、时间戳各不相同）。",
    ),
    "not-entitled": Text(
        zh="签发者无权作此声明",
        en="whoever signed this may not state it",
        fix="Ask the organisation named; it was recorded as an alarm.",
        fix_zh="请向所称单位核实；已记录告警。",
    ),
    "unreachable": Text(zh="对方没有应答", en="the other side did not answer", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "directory": Text(
        zh="交换目录或其条目不成立",
        en="the directory, or what is asked of it, does not hold",
        fix="Fetch the directory in force from its authority.",
        fix_zh="请从目录管理单位取得现行交换目录。",
    ),
    "directory-older": Text(
        zh="收到的目录版本低于现行版本",
        en="the directory offered is older than the one in force",
        fix="Nothing: the one in force stays.",
        fix_zh="无需处理：继续使用现行版本。",
    ),
    "directory-equivocation": Text(
        zh="同一目录版本有两份不同内容，且均有签名",
        en="one version of the directory exists with two contents, both signed",
        fix="Ask the directory authority at once; the one in force stays.",
        fix_zh="请立即向目录管理单位核实；继续使用现行版本。",
    ),
    "not-listed": Text(
        zh="目录中没有该单位、网关或可用的证书",
        en="the directory lists no such organisation, gateway or usable certificate",
        fix="Check the code, or have it listed by the directory authority.",
        fix_zh="请核对代码，或由目录管理单位列入目录。",
    ),
    "time-stamp-refused": Text(
        zh="时间戳机构拒绝了请求",
        en="the time authority refused the request",
        fix="Ask the time authority; it is tried again by itself.",
        fix_zh="请向时间戳机构了解原因；系统会自动重试。",
    ),
    "part-changed": Text(
        zh="文件在受理过程中被改动",
        en="a part is no longer what it was when it was offered",
        fix="Offer the document again once its files are final.",
        fix_zh="请在文件定稿后重新提交。",
    ),
    "offer-gone": Text(
        zh="办公系统中已没有该公文",
        en="the office no longer has the document it offered",
        fix="Offer it again.",
        fix_zh="请重新提交。",
    ),
    "too-many-uploads": Text(zh="未完成的上传过多", en="there are too many open uploads", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "content-invalid": Text(
        zh="内容与发件单位签名的清单不符：{detail}",
        en="the content is not what the sender signed for: {detail}",
        fix="The sender must send it again.",
        fix_zh="请发件单位重新发送。",
    ),
    "expired": Text(
        zh="交换已于 {expires} 到期",
        en="the exchange ended at {expires}",
        fix="The sender must send it anew.",
        fix_zh="请发件单位重新发送。",
    ),
    "act/unknown-exchange": Text(
        zh="没有交换 {exchange}，签收或退回无效",
        en="there is no exchange {exchange} to sign for or return",
        fix="Check the exchange id.",
        fix_zh="请核对交换编号。",
    ),
    "act/too-late": Text(
        zh="该交换的结果已定（{state}），不能再签收或退回",
        en="the outcome stands already ({state}); it cannot be signed for or returned any more",
        fix="Nothing: an outcome is stated once.",
        fix_zh="无需处理：结果只作一次。",
    ),
    # problem words of the peer protocol
    "not-carrier": Text(
        zh="该网关不得为此发件单位传递",
        en="this gateway may not carry for that sender",
        fix="Check gateway and organisation in the directory.",
        fix_zh="请核对目录中的网关与单位。",
    ),
    "not-ours": Text(
        zh="收件单位不由本网关服务",
        en="the recipient is not served here",
        fix="Check the recipient's gateway in the directory.",
        fix_zh="请核对目录中收件单位的网关。",
    ),
    "not-found": Text(zh="没有该交换", en="there is no such exchange", fix="Check the exchange id.", fix_zh="请核对交换编号。"),
    "unknown-peer": Text(
        zh="对方证书不属于目录中的任何网关",
        en="the peer's certificate belongs to no gateway of the directory",
        fix="Have the gateway listed in the directory.",
        fix_zh="请将该网关列入目录。",
    ),
    "unknown-exchange": Text(zh="没有该交换", en="there is no such exchange here", fix="Check the exchange id.", fix_zh="请核对交换编号。"),
    "directory-unknown": Text(
        zh="尚未取得对方所用的目录版本", en="the directory version named is not here yet", fix=_AGAIN, fix_zh=_AGAIN_ZH
    ),
    "directory-expired": Text(
        zh="目录版本已失效",
        en="the directory version named is no longer in force",
        fix="Fetch the directory in force.",
        fix_zh="请更新交换目录。",
    ),
    "envelope-mismatch": Text(zh="数字信封与签名的不符", en="the envelope is not the one signed for", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "ciphertext-mismatch": Text(zh="密文与签名的摘要不符", en="the ciphertext is not the one signed for", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "signer-not-listed": Text(
        zh="签名证书未列入目录",
        en="the signing certificate is not listed for the sender",
        fix="Have the certificate listed in the directory.",
        fix_zh="请将证书列入目录。",
    ),
    "signature-invalid": Text(zh="签名不成立", en="the signature does not hold", fix=_THEIRS, fix_zh=_THEIRS_ZH),
    "token-missing": Text(
        zh="缺少时间戳",
        en="the timestamp is missing",
        fix="The sender's gateway must have its signature stamped.",
        fix_zh="发件网关须为签名加盖时间戳。",
    ),
    "token-invalid": Text(
        zh="时间戳不成立或其机构不被允许",
        en="the timestamp does not hold or its authority is not allowed",
        fix="Use a time authority the directory lists and the policy allows.",
        fix_zh="请使用目录列出且策略允许的时间戳机构。",
    ),
    "token-time": Text(
        zh="时间戳的时间与交换单的制作时间不符",
        en="the timestamp was not made when the transmittal says it was",
        fix="The sender's gateway must stamp within ten minutes of sealing; the clocks of both are to be checked.",
        fix_zh="发件网关须在封装后十分钟内加盖时间戳；请核对双方时钟。",
    ),
    "foreign-upload": Text(
        zh="对方网关查询或续传了其他网关的上传",
        en="a peer asked after, or went on with, an upload of another gateway",
        fix="It was told that there is none; ask that gateway's operator how it knew of it.",
        fix_zh="对方仅得知“无此上传”；请向其运维人员核实来源。",
    ),
    "directory-forked": Text(
        zh="同一版本号的目录在此处内容不同",
        en="the directory version named is another one here: two bear its number",
        fix="Compare both with the directory authority; one of them is false.",
        fix_zh="请与目录管理机构核对；两者必有一伪。",
    ),
    "directory-superseded": Text(
        zh="交换单依据的目录版本早已被替换",
        en="the transmittal was made under a directory version that had long been replaced",
        fix="The sender's gateway must fetch the directory in force; what it seals then is taken.",
        fix_zh="发件网关须取得现行目录；此后封装的公文可被接收。",
    ),
    "notice-not-served": Text(
        zh="本网关尚不受理撤回、作废、催办等通知",
        en="notices (withdraw, void, urge, supplement, feedback) are not served here",
        fix="Reach the recipient by another way; the exchange it is about stands as it was.",
        fix_zh="请另行联系收件单位；原交换不受影响。",
    ),
    "other-exchange": Text(
        zh="回执针对的是另一交换或另一内容", en="the receipt is about another exchange, or other content", fix=_THEIRS, fix_zh=_THEIRS_ZH
    ),
    "forked-receipts": Text(
        zh="同一单位对同一交换签发了两份前后矛盾的回执",
        en="its issuer made two receipts with one predecessor: it contradicts itself",
        fix="Ask the issuer; both receipts are kept as proof, and the first stands.",
        fix_zh="请向签发单位核实；两份回执均已留存，以先到者为准。",
    ),
    "sign-for-not-asked": Text(
        zh="策略不要求签收，送达即为结果，“逾期未签收”无效",
        en="policy asks nobody to sign, so the delivery was the outcome; NotSignedFor states nothing",
        fix="Check that both sides act by the same policy.",
        fix_zh="请核对双方所用策略是否一致。",
    ),
    "clock": Text(
        zh="双方时钟相差过大",
        en="the clocks are too far apart",
        fix="Correct the clocks on both sides (NTP); it is tried again by itself.",
        fix_zh="请校准双方时钟（NTP）；系统会自动重试。",
    ),
    "busy": Text(zh="对方网关暂时不能受理", en="the gateway cannot take this now", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "offset-mismatch": Text(zh="续传位置不符", en="the upload continues at another offset", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "duplicate-other": Text(
        zh="同一交换编号下已有另一份交换单",
        en="this exchange id is known with another transmittal",
        fix="The sender contradicts itself; ask it. Both digests were recorded as an alarm.",
        fix_zh="发件单位前后矛盾，请向其核实；两个摘要均已记录告警。",
    ),
    "stopping": Text(zh="对方网关正在停止", en="the gateway is stopping", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "too-large": Text(zh="请求过大", en="the request is too large", fix="Send less, or in pieces.", fix_zh="请缩减内容，或分次发送。"),
    "too-many": Text(zh="同时的请求过多", en="there are too many requests at once", fix=_AGAIN, fix_zh=_AGAIN_ZH),
    "too-slow": Text(zh="传输过慢", en="the transfer is too slow", fix=_AGAIN, fix_zh=_AGAIN_ZH),
}

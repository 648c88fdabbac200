import{j as o}from"./chunk-3DQQJRLM.js";var n=o(null),p=o(null);export{n as a,p as b};
